"""Sales by day, filled by a hook of the migration's own, in the same transaction."""

from confiture.core import Hook, HookPhase, HookResult
from confiture.models.migration import Migration


class FillDailySales(Hook):
    phase = HookPhase.AFTER_DDL

    def execute(self, conn, context):
        if context.direction == "backward":
            return None
        result = conn.execute(
            "INSERT INTO r_daily_sales (day, orders, cents) "
            "SELECT (o.placed_at AT TIME ZONE 'UTC')::date, count(*), sum(t.cents) "
            "FROM w_orders o JOIN r_order_totals t ON t.order_id = o.id GROUP BY 1"
        )
        return HookResult(phase="AFTER_DDL", hook_name="FillDailySales", rows_affected=result.rowcount)


class DailySales(Migration):
    after_ddl_hooks = (FillDailySales(),)

    def up(self):
        self.execute("CREATE TABLE r_daily_sales (day date PRIMARY KEY, orders bigint, cents bigint)")

    def down(self):
        self.execute("DROP TABLE r_daily_sales")
