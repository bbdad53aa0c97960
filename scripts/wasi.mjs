// Runs a wasm32-wasip1 program under Node, for `cargo test`: scripts/cross-check names it as the
// target's runner. The program sees this machine's files and the current folder.
import { readFile } from "node:fs/promises";
import { argv, cwd, env, exit } from "node:process";
import { WASI } from "node:wasi";

const [, , program, ...args] = argv;
const wasi = new WASI({
  version: "preview1",
  args: [program, ...args],
  env: { ...env, PWD: cwd() },
  preopens: { "/": "/", ".": cwd() },
});
const module = await WebAssembly.compile(await readFile(program));
exit(wasi.start(await WebAssembly.instantiate(module, wasi.getImportObject())));
