// Validates an AsyncAPI document with AsyncAPI's own parser. Arguments: the folder that has the parser, and the document.
import { readFileSync } from "node:fs";
import { createRequire } from "node:module";
import { resolve } from "node:path";

const [folder, file] = process.argv.slice(2);
const { Parser } = createRequire(resolve(folder, "package.json"))("@asyncapi/parser");
const { document, diagnostics } = await new Parser().parse(readFileSync(file, "utf8"));
for (const { severity, code, message, path } of diagnostics) {
  console.log(`${["error", "warning", "information", "hint"][severity]}: ${code}: ${message} (${path.join("/")})`);
}
console.log(document ? `${file}: valid, ${document.allMessages().length} messages` : `${file}: not valid`);
process.exitCode = document ? 0 : 1;
