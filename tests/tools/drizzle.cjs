// Applies the migrations of a folder as an application with drizzle-orm does: PACKAGES FOLDER, and DATABASE_URL.
const [packages, folder] = process.argv.slice(2);
const { Client } = require(`${packages}/pg`);
const { drizzle } = require(`${packages}/drizzle-orm/node-postgres/index.cjs`);
const { migrate } = require(`${packages}/drizzle-orm/node-postgres/migrator.cjs`);

(async () => {
  const client = new Client({ connectionString: process.env.DATABASE_URL });
  await client.connect();
  try {
    await migrate(drizzle(client), { migrationsFolder: folder });
  } finally {
    await client.end();
  }
})();
