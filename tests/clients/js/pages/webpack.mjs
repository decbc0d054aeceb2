// Bundles ./app.js of this folder into the folder that the first argument names.
import webpack from "webpack";

const [path] = process.argv.slice(2);
webpack({ mode: "production", entry: "./app.js", output: { path, publicPath: "/" } }, (error, stats) => {
  if (!error && !stats.hasErrors()) return;
  console.error(error ?? stats.toString());
  process.exitCode = 1;
});
