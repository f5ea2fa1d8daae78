// Checks custom resources (a JSON list on standard input) against the models in FOLDER/node_modules, twice: their
// validators know required keys, enumerations and patterns; the TypeScript compiler refuses keys that a kind has not.
// Usage: node custom_kinds.mjs FOLDER < objects.json; one line on standard output for each mistake.
import { readFileSync, rmSync, writeFileSync } from "node:fs";
import { createRequire } from "node:module";
import { join, resolve } from "node:path";
import { pathToFileURL } from "node:url";

const PACKAGES = {
  "keda.sh": "@kubernetes-models/keda",
  "monitoring.coreos.com": "@kubernetes-models/prometheus-operator",
  "gateway.networking.k8s.io": "@kubernetes-models/gateway-api",
};
const folder = resolve(process.argv[2]);
const require = createRequire(join(folder, "package.json"));
const objects = JSON.parse(readFileSync(0, "utf8"));
const mistakes = [];
// The packages are ES modules: they are found from a module within the folder only.
const loader = join(folder, `load-${process.pid}.mjs`);
writeFileSync(loader, "export const load = (path) => import(path);");
const { load } = await import(pathToFileURL(loader));
rmSync(loader);
const lines = [];
for (const [index, object] of objects.entries()) {
  const [group] = object.apiVersion.split("/");
  const where = `${object.kind} ${object.metadata?.name}`;
  const path = `${PACKAGES[group]}/${object.apiVersion}`;
  try {
    const models = await load(path);
    const model = models[object.kind] ?? models.default?.[object.kind];
    if (!model) throw new Error(`there is no such kind in ${path}`);
    new model(object).validate();
  } catch (error) {
    mistakes.push(`${where}: ${error.message}`);
    if (error.message.startsWith("there is no")) continue;
  }
  lines.push(`import type { I${object.kind} as T${index} } from ${JSON.stringify(path)};`);
  lines.push(`export const o${index}: T${index} = ${JSON.stringify(object)};`);
}
const file = join(folder, `objects-${process.pid}.mts`);
writeFileSync(file, lines.join("\n"));
const ts = require("typescript");
const program = ts.createProgram([file], {
  noEmit: true, strict: true, skipLibCheck: true, types: [], target: ts.ScriptTarget.ES2022,
  module: ts.ModuleKind.Node16, moduleResolution: ts.ModuleResolutionKind.Node16,
});
for (const found of ts.getPreEmitDiagnostics(program)) {
  mistakes.push(ts.flattenDiagnosticMessageText(found.messageText, " "));
}
rmSync(file);
for (const mistake of mistakes) console.log(mistake.replaceAll("\n", " "));
process.exit(mistakes.length ? 1 : 0);
