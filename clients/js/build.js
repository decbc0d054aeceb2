// Builds dist/: files for `import` and for `require`, and the types of both; and the client as one file
// for the development page, which has no Node. `node build.js FILE` writes only the page's, to FILE.
import { execFileSync } from "node:child_process";
import { existsSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { build } from "esbuild";
import { minify } from "terser";

const here = fileURLToPath(new URL(".", import.meta.url));
const dist = join(here, "dist");
const page = join(here, "../page/clarion_dev_page/static/client.js");
// Names that nothing outside the package uses: shorter ones keep the core small. Those that the other files
// use too have the same short name everywhere.
const mangleCache = { afterMs: "_a", ended: "_e", isForeign: "_f", isPast: "_p", isLogout: "_l", relay: "_r", verdict: "_v" };
const own =
  "missing surplus unanswered awake frozen thawed subscriptions flush hidden received heard begin emit fail remove promise areNew refusal asked";
const mangleProps = new RegExp(`^(${[...own.split(" "), ...Object.keys(mangleCache)].join("|")})$`);
const common = { bundle: true, minify: true, target: "es2022", mangleProps, mangleCache };
const core = join(here, "src/index.ts");
const SMALL = { ecma: 2022, module: true, compress: { passes: 3, unsafe: true, sequences: false, conditionals: false } };
// Each becomes a file of its own. The others import it from there.
const ENTRIES = ["index", "sse", "tabs", "react", "testing"];

async function buildForPage(outfile) {
  await build({ ...common, entryPoints: [core], format: "esm", outfile });
  const { code } = await minify(readFileSync(outfile, "utf8"), SMALL);
  writeFileSync(outfile, `// Written by clients/js/build.js from clients/js/src. Do not edit.\n${code}\n`);
}

async function buildPackage() {
  rmSync(dist, { recursive: true, force: true });
  for (const [format, extension] of [["esm", ".js"], ["cjs", ".cjs"]]) {
    const options = { ...common, sourcemap: true, format, outdir: dist, outExtension: { ".js": extension } };
    for (const name of ENTRIES) {
      const entryPoints = [join(here, `src/${name}.ts`)];
      await build({ ...options, entryPoints, external: ["react"], plugins: [siblings(extension)] });
      if (format === "esm") await shrink(join(dist, name + extension));
    }
  }
  execFileSync(process.execPath, [join(here, "node_modules/typescript/bin/tsc"), "-p", here], { stdio: "inherit" });
  // The same declarations for CommonJS, under names that say so.
  for (const name of readdirSync(join(dist, "types"))) {
    const text = readFileSync(join(dist, "types", name), "utf8").replaceAll(/\.js"/g, '.cjs"');
    writeFileSync(join(dist, "types", name.replace(/\.d\.ts$/, ".d.cts")), text);
  }
}

/**
 * Minifies a file of esbuild's further; its map beside it leads to src; naming it would cost the core 30 bytes. Not for CommonJS, where Node finds
 * the names of exports by esbuild's hint.
 */
async function shrink(file) {
  const map = `${file}.map`;
  const sourceMap = { content: readFileSync(map, "utf8"), includeSources: true };
  const small = await minify(readFileSync(file, "utf8"), { ...SMALL, sourceMap });
  writeFileSync(file, small.code);
  writeFileSync(map, small.map);
}

/** Leaves the imports of other entries as they are. */
function siblings(extension) {
  const filter = new RegExp(`^\\./(${ENTRIES.join("|")})\\.js$`);
  return {
    name: "siblings",
    setup({ onResolve }) {
      onResolve({ filter }, ({ path, kind }) =>
        kind === "entry-point" ? undefined : { path: path.replace(/\.js$/, extension), external: true },
      );
    },
  };
}

if (process.argv[2]) await buildForPage(process.argv[2]);
else {
  await buildPackage();
  if (existsSync(dirname(page))) await buildForPage(page);
}
