// Runs a wasm32-wasip1 program under Node, for `cargo test`: scripts/cross-check names it as the
// target's runner. The program sees this machine's files; its current folder is the root.
import { readFile } from "node:fs/promises";
import { argv, env, exit } from "node:process";
import { WASI } from "node:wasi";

const [, , program, ...args] = argv;
const wasi = new WASI({
  version: "preview1",
  args: [program, ...args],
  env,
  preopens: { "/": "/" },
});
const imports = { wasi_snapshot_preview1: wasi.wasiImport };
const { instance } = await WebAssembly.instantiate(await readFile(program), imports);
exit(wasi.start(instance));
