// Builds dist/: one file for `import`, one for `require`, and the types of both.
import { execFileSync } from "node:child_process";
import { readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { build } from "esbuild";

const here = fileURLToPath(new URL(".", import.meta.url));
const dist = join(here, "dist");
rmSync(dist, { recursive: true, force: true });
const common = { entryPoints: [join(here, "src/index.ts")], bundle: true, minify: true, target: "es2022", sourcemap: true };
await build({ ...common, format: "esm", outfile: join(dist, "index.js") });
await build({ ...common, format: "cjs", outfile: join(dist, "index.cjs") });
execFileSync(process.execPath, [join(here, "node_modules/typescript/bin/tsc"), "-p", here], { stdio: "inherit" });
// The same declarations for CommonJS, under names that say so.
for (const name of readdirSync(join(dist, "types"))) {
  const text = readFileSync(join(dist, "types", name), "utf8").replaceAll(/\.js"/g, '.cjs"');
  writeFileSync(join(dist, "types", name.replace(/\.d\.ts$/, ".d.cts")), text);
}
