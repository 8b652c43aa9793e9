// Shows the OpenAPI document of this server, and sends requests to it. It makes elements and sets their text, and never
// reads markup from the document. The token lives in its field alone and is sent to this server alone.
"use strict";

const METHODS = ["get", "post", "put", "patch", "delete", "head", "options", "trace"];
/** How deep schemas are opened, and answers shown, at most. */
const SCHEMA_DEPTH_MAX = 8;
const EXAMPLE_DEPTH_MAX = 5;
const ANSWER_CHARS_MAX = 200_000;

const byId = (id) => document.getElementById(id);
let api = {};

/** An element with attributes (functions are listeners), and children that are elements or text. */
function make(tag, attributes = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (typeof value === "function") element.addEventListener(name, value);
    else if (value === true) element.setAttribute(name, "");
    else if (value !== false && value != null) element.setAttribute(name, value);
  }
  element.append(...children.filter((child) => child != null));
  return element;
}

/** What a `$ref` within the document stands for. */
function resolve(value) {
  for (let hops = 0; value?.$ref?.startsWith("#/") && hops < 10; hops += 1) {
    const parts = value.$ref.slice(2).split("/").map((part) => part.replaceAll("~1", "/").replaceAll("~0", "~"));
    value = parts.reduce((inner, part) => inner?.[part], api);
  }
  return value ?? {};
}

const nameOf = (schema) => schema?.$ref?.split("/").pop() ?? schema?.title;
const variants = (schema) => schema.anyOf ?? schema.oneOf ?? schema.allOf;

// Schemas

function kind(given) {
  const schema = resolve(given);
  const name = nameOf(given);
  if (name) return name;
  if (schema.const !== undefined) return JSON.stringify(schema.const);
  if (schema.enum) return schema.enum.map((value) => JSON.stringify(value)).join(" | ");
  if (variants(schema)) return variants(schema).map(kind).join(schema.allOf ? " & " : " | ");
  const types = [schema.type ?? "any"].flat();
  return types.map((type) => (type === "array" && schema.items ? `${kind(schema.items)}[]` : type)).join(" | ");
}

const LIMITS = [
  ["format", ""], ["minLength", "min length "], ["maxLength", "max length "], ["minimum", "≥ "], ["maximum", "≤ "],
  ["exclusiveMinimum", "> "], ["exclusiveMaximum", "< "], ["minItems", "min items "], ["maxItems", "max items "],
  ["pattern", "pattern "],
];

function limits(schema) {
  // A bound that JavaScript cannot hold exactly would be told wrong, and says little.
  const isTold = (value) => value !== undefined && !(typeof value === "number" && Math.abs(value) > Number.MAX_SAFE_INTEGER);
  const told = LIMITS.filter(([key]) => isTold(schema[key])).map(([key, words]) => words + schema[key]);
  if (schema.default !== undefined) told.push(`default ${JSON.stringify(schema.default)}`);
  return told.join(", ");
}

/** The parts of a schema that can be opened: fields, entries, variants. */
function parts(schema) {
  const fields = Object.entries(schema.properties ?? {});
  const required = new Set(schema.required ?? []);
  const told = fields.map(([name, inner]) => ({ name, inner, required: required.has(name) }));
  if (schema.items) told.push({ name: "each entry", inner: schema.items });
  if (typeof schema.additionalProperties === "object") told.push({ name: "any other", inner: schema.additionalProperties });
  for (const inner of variants(schema) ?? []) {
    if (resolve(inner).type !== "null") told.push({ name: schema.allOf ? "and" : "or", inner });
  }
  return told;
}

function showSchema(given, depth = 0) {
  const schema = resolve(given);
  const list = make("ul", { class: "schema" });
  for (const part of parts(schema)) list.append(showPart(part, depth));
  if (list.childElementCount > 0) return list;
  return make("p", { class: "quiet" }, [kind(given), limits(schema)].filter(Boolean).join(", "));
}

function showPart({ name, inner, required }, depth) {
  const schema = resolve(inner);
  const line = [
    make("code", {}, name), required ? " * " : " ",
    make("span", { class: "quiet" }, [kind(inner), limits(schema)].filter(Boolean).join(", ")),
    ...(schema.description ? [" ", ...prose(schema.description)] : []),
  ];
  if (parts(schema).length === 0 || depth >= SCHEMA_DEPTH_MAX) return make("li", {}, ...line);
  // Filled when it is opened, since schemas may contain themselves.
  const details = make("details", { toggle: () => {
    if (details.open && details.childElementCount === 1) details.append(showSchema(inner, depth + 1));
  } }, make("summary", {}, ...line));
  return make("li", {}, details);
}

/** A value that a person can start from. */
function example(given, depth = 0) {
  const schema = resolve(given);
  if (schema.example !== undefined) return schema.example;
  if (schema.examples?.length) return schema.examples[0];
  if (schema.default !== undefined) return schema.default;
  if (schema.const !== undefined) return schema.const;
  if (schema.enum) return schema.enum[0];
  if (depth > EXAMPLE_DEPTH_MAX) return null;
  if (schema.allOf) return Object.assign({}, ...schema.allOf.map((inner) => example(inner, depth + 1)));
  if (variants(schema)) return example(variants(schema)[0], depth + 1);
  switch ([schema.type].flat()[0]) {
    case "object": {
      const required = schema.required ?? [];
      const wanted = required.length ? required : Object.keys(schema.properties ?? {});
      return Object.fromEntries(wanted.map((name) => [name, example(schema.properties?.[name], depth + 1)]));
    }
    case "array": return [];
    case "integer": case "number": return schema.minimum ?? 0;
    case "boolean": return false;
    case "null": return null;
    default: return "";
  }
}

// Operations

function access(operation) {
  const auth = operation["x-tinybase-auth"];
  const scope = operation["x-tinybase-scope"];
  const known = { open: "anyone, no token is read", anyone: "anyone; a token is read where one is sent" };
  const who = auth ? `For: ${known[auth] ?? auth}.` : "";
  return [who, scope ? `An application token needs ${scope}.` : ""].filter(Boolean).join(" ");
}

function showParameters(parameters) {
  if (parameters.length === 0) return [];
  const rows = parameters.map((parameter) => make("tr", {},
    make("td", {}, make("code", {}, parameter.name), parameter.required ? " *" : ""),
    make("td", {}, parameter.in),
    make("td", {}, [kind(parameter.schema), limits(resolve(parameter.schema))].filter(Boolean).join(", ")),
    make("td", {}, ...prose(parameter.description)),
  ));
  const heads = ["name", "in", "type", "meaning"].map((head) => make("th", { scope: "col" }, head));
  const table = make("table", {}, make("thead", {}, make("tr", {}, ...heads)), make("tbody", {}, ...rows));
  return [make("h3", {}, "Parameters"), make("div", { class: "scroll" }, table)];
}

function showContent(content) {
  return Object.entries(content ?? {}).map(([type, media]) =>
    make("div", {}, make("p", { class: "quiet" }, type), showSchema(media.schema ?? {})));
}

/** Words with `code` in them. */
function prose(text) {
  return (text ?? "").split("`").map((part, index) => (index % 2 ? make("code", {}, part) : part));
}

/** Answers that share one description in the document are told together. */
function showAnswers(responses) {
  const together = new Map();
  for (const [status, given] of Object.entries(responses ?? {})) {
    const key = given.$ref ?? status;
    if (!together.has(key)) together.set(key, { statuses: [], response: resolve(given) });
    together.get(key).statuses.push(status);
  }
  return [...together.values()].map(({ statuses, response }) => {
    const title = [make("code", {}, statuses.join(" ")), " ", ...prose(response.description)];
    if (!response.content) return make("p", {}, ...title);
    const details = make("details", { toggle: () => {
      if (details.open && details.childElementCount === 1) details.append(...showContent(response.content));
    } }, make("summary", {}, ...title));
    return details;
  });
}

function fill(panel, path, method, operation, shared) {
  // The operation's own parameter stands for one of the path's with the same name and place.
  const own = (operation.parameters ?? []).map(resolve);
  const others = shared.filter((one) => !own.some((known) => known.name === one.name && known.in === one.in));
  const parameters = [...others, ...own];
  const body = operation.requestBody ? resolve(operation.requestBody) : null;
  panel.append(
    ...(operation.description ? [make("p", {}, ...prose(operation.description))] : []),
    make("p", { class: "quiet" }, access(operation)),
    ...showParameters(parameters),
    ...(body ? [make("h3", {}, body.required ? "Body *" : "Body"), ...showContent(body.content)] : []),
    make("h3", {}, "Answers"), ...showAnswers(operation.responses),
    make("h3", {}, "Try it"), tryIt(path, method, parameters, body),
  );
}

function showOperation({ path, method, operation, shared }) {
  const panel = make("div");
  const details = make("details", { class: "operation", id: operation.operationId, toggle: () => {
    if (details.open && panel.childElementCount === 0) fill(panel, path, method, operation, shared);
  } }, make("summary", {},
    make("span", { class: `method ${method}` }, method.toUpperCase()),
    make("span", { class: "path" }, path),
    make("span", { class: "summary" }, operation.summary ?? operation.operationId ?? ""),
  ), panel);
  const words = [method, path, operation.operationId, operation.summary, operation.description];
  details.dataset.words = words.join(" ").toLowerCase();
  return details;
}

// Sending requests

function field(parameter) {
  const schema = resolve(parameter.schema);
  const label = `${parameter.name}${parameter.required ? " *" : ""} (${parameter.in})`;
  const choices = schema.enum ?? ([schema.type].flat().includes("boolean") ? [true, false] : null);
  const options = choices?.map((choice) => make("option", {}, String(choice)));
  const input = choices
    ? make("select", { required: parameter.required }, make("option", { value: "" }, ""), ...options)
    : make("input", { required: parameter.required, autocomplete: "off", spellcheck: "false" });
  return { parameter, input, label: make("label", {}, make("span", {}, label), input) };
}

function tryIt(path, method, parameters, body) {
  const fields = parameters.filter((parameter) => parameter.in !== "cookie").map(field);
  const type = body ? Object.keys(body.content ?? {})[0] : null;
  const start = type ? JSON.stringify(example(body.content[type].schema), null, 2) : "";
  const text = type ? make("textarea", { spellcheck: "false" }) : null;
  if (text) text.value = start;
  const output = make("div", { role: "status", "aria-live": "polite" });
  const button = make("button", {}, "Send");
  const send = async (event) => {
    event.preventDefault();
    button.disabled = true;
    output.replaceChildren("Waiting …");
    output.replaceChildren(...await ask(path, method, fields, type, text?.value));
    button.disabled = false;
  };
  const content = text ? [make("label", { class: "block" }, make("span", {}, `Body (${type})`), text)] : [];
  return make("form", { submit: send }, ...fields.map((one) => one.label), ...content, button, output);
}

function target(path, fields) {
  const query = new URLSearchParams();
  for (const { parameter, input } of fields) {
    if (parameter.in === "path") path = path.replace(`{${parameter.name}}`, encodeURIComponent(input.value));
    if (parameter.in === "query" && input.value !== "") query.append(parameter.name, input.value);
  }
  const words = query.toString();
  return path.replace(/^\//, "") + (words ? `?${words}` : "");
}

function headersOf(fields, type) {
  const headers = new Headers(type ? { "content-type": type } : {});
  const token = byId("token").value.trim();
  if (token) headers.set("authorization", `Bearer ${token}`);
  for (const { parameter, input } of fields) {
    if (parameter.in === "header" && input.value !== "") headers.set(parameter.name, input.value);
  }
  return headers;
}

async function ask(path, method, fields, type, body) {
  const started = performance.now();
  try {
    const url = new URL(target(path, fields), document.baseURI);
    const headers = headersOf(fields, type);
    const answer = await fetch(url, { method: method.toUpperCase(), headers, body, credentials: "omit" });
    const text = await answer.text();
    const took = Math.round(performance.now() - started);
    const told = [...answer.headers].map(([name, value]) => `${name}: ${value}`).join("\n");
    return [
      make("p", {}, make("strong", {}, `${answer.status} ${answer.statusText}`), ` ${took} ms · ${url.pathname}${url.search}`),
      make("pre", { tabindex: "0", "aria-label": "Headers of the answer" }, told),
      make("pre", { tabindex: "0", "aria-label": "Body of the answer" }, pretty(text)),
    ];
  } catch (error) {
    return [make("p", {}, `The request could not be sent: ${error.message}`)];
  }
}

/** JSON with its lines broken; anything else as it came. Numbers that JavaScript cannot hold exactly stay as they were sent. */
function pretty(text) {
  const shown = text.length > ANSWER_CHARS_MAX ? `${text.slice(0, ANSWER_CHARS_MAX)} …` : text;
  if (shown !== text || /\d{16,}/.test(text)) return shown || "(empty)";
  try {
    return JSON.stringify(JSON.parse(text), null, 2);
  } catch {
    return text || "(empty)";
  }
}

// The page

function groups() {
  const found = new Map();
  for (const [path, given] of Object.entries(api.paths ?? {})) {
    const item = resolve(given);
    const shared = (item.parameters ?? []).map(resolve);
    for (const method of METHODS.filter((method) => item[method])) {
      const operation = item[method];
      const tag = operation.tags?.[0] ?? "other";
      if (!found.has(tag)) found.set(tag, []);
      found.get(tag).push({ path, method, operation, shared });
    }
  }
  return [...found].sort(([one], [other]) => one.localeCompare(other));
}

function show() {
  const title = `${api.info?.title ?? "API"} ${api.info?.version ?? ""}`.trim();
  document.title = title;
  byId("title").textContent = title;
  const sections = groups().map(([tag, operations]) => {
    const id = `group-${tag}`;
    byId("groups").append(make("a", { href: `#${encodeURIComponent(id)}` }, `${tag} (${operations.length})`));
    return make("section", { "aria-labelledby": id }, make("h2", { id }, tag), ...operations.map(showOperation));
  });
  byId("operations").append(...sections);
  byId("message").textContent = "";
}

/** Opens what the address names. */
function openNamed() {
  const named = byId(decodeURIComponent(location.hash.slice(1)));
  if (named?.matches("details.operation")) named.open = true;
  named?.scrollIntoView();
}

function find() {
  const words = byId("find").value.toLowerCase().split(/\s+/).filter(Boolean);
  let count = 0;
  for (const section of document.querySelectorAll("main section")) {
    const operations = [...section.querySelectorAll(".operation")];
    for (const one of operations) one.hidden = !words.every((word) => one.dataset.words.includes(word));
    const left = operations.filter((one) => !one.hidden).length;
    section.hidden = left === 0;
    count += left;
  }
  byId("message").textContent = words.length ? `${count} found` : "";
}

async function start() {
  try {
    const answer = await fetch("openapi.json");
    if (!answer.ok) throw new Error(`it was answered with ${answer.status}`);
    api = await answer.json();
  } catch (error) {
    byId("message").textContent = `The document openapi.json could not be loaded: ${error.message}. Reload the page to try again.`;
    return;
  }
  show();
  byId("find").addEventListener("input", find);
  window.addEventListener("hashchange", openNamed);
  if (location.hash) openNamed();
}

start();
