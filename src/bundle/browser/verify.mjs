// Verifies a bundle without a browser: node verify.mjs model.safetensors golden.safetensors
// Exit code: 0 passed, 1 an answer differs, 2 a file cannot be used.
import { readFile } from "node:fs/promises";
import { argv, exit } from "node:process";
import { Network, verify } from "./hipflask.js";

const [, , model = "model.safetensors", golden = "golden.safetensors"] = argv;
try {
  const module = await readFile(new URL("hipflask.wasm", import.meta.url));
  const network = await Network.load(module, await readFile(model));
  const verdict = verify(network, await readFile(golden));
  console.log(JSON.stringify(verdict));
  exit(verdict.equal === verdict.samples ? 0 : 1);
} catch (error) {
  console.error(`error: ${error.message}`);
  exit(2);
}
