// Builds dist/: one file for `import`, one for `require`, and the types of both; and the same client
// for the development page, which has no Node. `node build.js FILE` writes only the page's, to FILE.
import { execFileSync } from "node:child_process";
import { existsSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { build } from "esbuild";

const here = fileURLToPath(new URL(".", import.meta.url));
const dist = join(here, "dist");
const page = join(here, "../page/clarion_dev_page/static/client.js");
const common = { entryPoints: [join(here, "src/index.ts")], bundle: true, minify: true, target: "es2022" };

async function buildForPage(outfile) {
  const banner = { js: "// Written by clients/js/build.js from clients/js/src. Do not edit." };
  await build({ ...common, format: "esm", outfile, banner });
}

async function buildPackage() {
  rmSync(dist, { recursive: true, force: true });
  const sourcemap = true;
  await build({ ...common, sourcemap, format: "esm", outfile: join(dist, "index.js") });
  await build({ ...common, sourcemap, format: "cjs", outfile: join(dist, "index.cjs") });
  execFileSync(process.execPath, [join(here, "node_modules/typescript/bin/tsc"), "-p", here], { stdio: "inherit" });
  // The same declarations for CommonJS, under names that say so.
  for (const name of readdirSync(join(dist, "types"))) {
    const text = readFileSync(join(dist, "types", name), "utf8").replaceAll(/\.js"/g, '.cjs"');
    writeFileSync(join(dist, "types", name.replace(/\.d\.ts$/, ".d.cts")), text);
  }
}

if (process.argv[2]) await buildForPage(process.argv[2]);
else {
  await buildPackage();
  if (existsSync(dirname(page))) await buildForPage(page);
}
