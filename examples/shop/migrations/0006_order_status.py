"""Every order gets a status; what is older than a month has been delivered."""

from confiture.models.migration import Migration


class OrderStatus(Migration):
    lock_timeout = "1s"

    def up(self):
        self.execute("ALTER TABLE w_orders ADD COLUMN status text NOT NULL DEFAULT 'open'")
        self.execute(
            "UPDATE w_orders SET status = 'delivered' WHERE placed_at < %s::timestamptz - interval '1 month'",
            ("2024-09-15",),
        )

    def verify(self):
        ((odd,),) = self.execute(
            "SELECT count(*) FROM w_orders WHERE status NOT IN ('open', 'delivered')"
        ).fetchall()
        assert odd == 0, f"{odd} orders have an unknown status"

    def down(self):
        self.execute("ALTER TABLE w_orders DROP COLUMN status")
