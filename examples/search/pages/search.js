// The admin page of the extension search: which collections are indexed, how far, and a search to try them.
// A custom element without a framework. It is handed one object, `context`, and reaches the server by nothing else:
//   { version: 1,
//     api(path, init)   `fetch` with the signed-in user's token; answers a Response
//     route             the page's own part of the address
//     user              { id, email, role }
//     theme             "light" or "dark" }

const STYLE = `
:host { display: block; font: 15px/1.5 system-ui, sans-serif; color-scheme: light;
  --text: #1b1f24; --muted: #59636e; --line: #d1d9e0; --ground: #ffffff; --raised: #f6f8fa;
  --accent: #0b5fff; --on-accent: #ffffff; --danger: #b42318; --found: #fff3b0; color: var(--text); }
:host([theme="dark"]) { color-scheme: dark; --text: #e6edf3; --muted: #9aa5b1; --line: #3d444d; --ground: #0d1117;
  --raised: #151b23; --accent: #6ea8fe; --on-accent: #06121f; --danger: #ff8a80; --found: #5c4b00; }
.page { background: var(--ground); padding: 1.5rem; overflow-x: auto; }
h1 { font-size: 1.4rem; margin: 0 0 1rem; } h2 { font-size: 1.1rem; margin: 2rem 0 .75rem; }
table { border-collapse: collapse; width: 100%; } caption { text-align: left; color: var(--muted); padding-bottom: .5rem; }
th, td { border-bottom: 1px solid var(--line); padding: .5rem .75rem .5rem 0; text-align: left; vertical-align: top; }
th { color: var(--muted); font-weight: 600; } td.actions { text-align: right; white-space: nowrap; }
fieldset { border: 1px solid var(--line); border-radius: 6px; margin: 1rem 0; padding: .5rem 1rem 1rem; }
label { display: block; margin: .5rem 0 .2rem; } .field { display: flex; gap: .75rem; align-items: center; margin: .4rem 0; }
.field label { margin: .2rem 0; flex: 0 1 16rem; } .field input[type=number] { width: 6rem; }
input, select, button { font: inherit; color: inherit; background: var(--ground); border: 1px solid var(--line);
  border-radius: 6px; padding: .35rem .6rem; }
input[type=search] { width: min(32rem, 100%); } button { background: var(--raised); cursor: pointer; }
button.first { background: var(--accent); border-color: var(--accent); color: var(--on-accent); }
button.danger { color: var(--danger); } button[disabled] { opacity: .5; cursor: default; }
:focus-visible { outline: 3px solid var(--accent); outline-offset: 2px; }
progress { width: 10rem; vertical-align: middle; } .muted { color: var(--muted); } .problem { color: var(--danger); }
.row { display: flex; gap: .75rem; flex-wrap: wrap; align-items: end; } ol { padding-left: 1.5rem; } li { margin: .6rem 0; }
mark { background: var(--found); color: inherit; border-radius: 3px; } .message { min-height: 1.5rem; margin: 1rem 0 0; }
dialog { background: var(--ground); color: var(--text); border: 1px solid var(--line); border-radius: 8px; padding: 1.5rem; }
dialog::backdrop { background: rgb(0 0 0 / .5); }
`;

const POLL_MS = 1000;
const SEARCH_LIMIT = 10;
const STATES = { ready: "ready", building: "being built", rebuilding: "ready, being built again" };

/** Makes an element; texts are never read as HTML. */
function make(tag, properties = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(properties)) {
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else if (name in element && typeof value !== "string") element[name] = value;
    else element.setAttribute(name, value);
  }
  element.append(...children.filter((child) => child !== null));
  return element;
}

/** What an error's answer says: a sentence, or a list of faults. */
function problem(told, status) {
  if (Array.isArray(told?.detail)) return told.detail.map((fault) => fault.msg).join("; ");
  return typeof told?.detail === "string" ? told.detail : `The server answered ${status}.`;
}

const ENTITIES = { "&amp;": "&", "&lt;": "<", "&gt;": ">", "&quot;": '"', "&#39;": "'" };

/** A snippet's text and its marks. It is taken apart here and never handed to the browser as HTML. */
function snippetNodes(html) {
  return html.split(/(<mark>.*?<\/mark>)/s).map((part) => {
    const marked = part.startsWith("<mark>") && part.endsWith("</mark>");
    const text = (marked ? part.slice(6, -7) : part).replace(/&(amp|lt|gt|quot|#39);/g, (entity) => ENTITIES[entity]);
    return marked ? make("mark", {}, text) : document.createTextNode(text);
  });
}

class SearchPage extends HTMLElement {
  #context = null;
  #timer = null;
  #indexes = [];
  #collections = [];
  #parts = {};

  set context(context) {
    if (context.version !== 1) throw new Error(`the page search knows version 1 of its context, not ${context.version}`);
    this.#context = context;
    this.setAttribute("theme", context.theme === "dark" ? "dark" : "light");
    if (this.isConnected) this.#begin();
  }

  get context() { return this.#context; }

  connectedCallback() { if (this.#context) this.#begin(); }

  disconnectedCallback() { clearTimeout(this.#timer); }

  get #mayChange() { return this.#context.user?.role === "admin"; }

  async #ask(path, method = "GET", body = undefined) {
    const init = { method };
    if (body !== undefined) Object.assign(init, { body: JSON.stringify(body), headers: { "content-type": "application/json" } });
    const answer = await this.#context.api(path, init);
    const told = answer.status === 204 ? null : await answer.json();
    if (!answer.ok) throw new Error(problem(told, answer.status));
    return told;
  }

  async #begin() {
    const root = this.shadowRoot ?? this.attachShadow({ mode: "open" });
    const sheet = new CSSStyleSheet();
    sheet.replaceSync(STYLE);
    root.adoptedStyleSheets = [sheet];
    this.#parts = {
      indexes: make("tbody"),
      form: make("div"),
      hits: make("ol", { "aria-label": "Hits" }),
      message: make("p", { class: "message", role: "status", "aria-live": "polite" }),
      dialog: make("dialog", { "aria-labelledby": "asked" }),
    };
    root.replaceChildren(make("div", { class: "page" }, make("h1", {}, "Search"), this.#table(), this.#parts.message,
      this.#parts.form, this.#tryOut(), this.#parts.dialog));
    await this.#attempt(async () => {
      const answer = await this.#ask("/api/collections");
      this.#collections = Array.isArray(answer) ? answer : answer.collections;
      await this.#refresh();
      if (this.#mayChange) this.#drawForm();
    });
  }

  async #attempt(work, done = "") {
    try {
      await work();
      this.#say(done);
    } catch (error) {
      this.#say(error.message, true);
    }
  }

  #say(text, isProblem = false) {
    this.#parts.message.textContent = text;
    this.#parts.message.classList.toggle("problem", isProblem);
  }

  #table() {
    const heads = ["Collection", "State", "Records", "Fields", "Language", ""].map((text) =>
      make("th", { scope: "col" }, text === "" ? make("span", { class: "muted" }, "") : text));
    return make("table", {}, make("caption", {}, "Collections whose records can be searched"),
      make("thead", {}, make("tr", {}, ...heads)), this.#parts.indexes);
  }

  async #refresh() {
    clearTimeout(this.#timer);
    this.#indexes = (await this.#ask("/api/search/indexes")).indexes;
    const rows = this.#indexes.map((index) => this.#row(index));
    const none = make("tr", {}, make("td", { colspan: "6", class: "muted" }, "No collection has an index yet."));
    const focused = this.shadowRoot.activeElement?.dataset.key;
    this.#parts.indexes.replaceChildren(...(rows.length > 0 ? rows : [none]));
    if (focused) this.#parts.indexes.querySelector(`[data-key="${CSS.escape(focused)}"]`)?.focus();
    if (this.isConnected && this.#indexes.some((index) => index.state !== "ready")) {
      this.#timer = setTimeout(() => this.#refresh().catch((error) => this.#say(error.message, true)), POLL_MS);
    }
  }

  #row(index) {
    const fields = index.fields.map((field) => `${field.name} × ${field.weight}`).join(", ");
    const state = make("td", {}, STATES[index.state] ?? index.state);
    if (index.state !== "ready") {
      state.append(make("br"), make("progress", { max: Math.max(index.total, 1), value: index.indexed,
        "aria-label": `How far the index of ${index.collection} is` }), ` ${index.indexed} of ${index.total}`);
    }
    if (index.problem) state.append(make("div", { class: "problem" }, index.problem));
    const button = (key, text, act, kind = "") => make("button", { type: "button", class: kind, onclick: act,
      "data-key": `${key}:${index.collection}`, "aria-label": `${text} the index of ${index.collection}` }, text);
    const actions = !this.#mayChange ? [] : [
      button("edit", "Change", () => this.#edit(index)), " ",
      button("rebuild", "Rebuild", () => this.#rebuild(index.collection)), " ",
      button("delete", "Delete", () => this.#confirmDelete(index.collection), "danger")];
    return make("tr", {}, make("th", { scope: "row" }, index.collection), state, make("td", {}, String(index.documents)),
      make("td", {}, fields), make("td", {}, index.language), make("td", { class: "actions" }, ...actions));
  }

  #edit(index) {
    this.#drawForm(index);
    this.#parts.form.querySelector("select").focus();
  }

  #rebuild(collection) {
    const path = `/api/search/indexes/${encodeURIComponent(collection)}/rebuild`;
    return this.#attempt(async () => { await this.#ask(path, "POST"); await this.#refresh(); }, `${collection} is being built again.`);
  }

  #confirmDelete(collection) {
    const { dialog } = this.#parts;
    const end = async () => {
      dialog.close();
      const path = `/api/search/indexes/${encodeURIComponent(collection)}`;
      await this.#attempt(async () => { await this.#ask(path, "DELETE"); await this.#refresh(); }, `The index of ${collection} is gone.`);
    };
    dialog.replaceChildren(make("p", { id: "asked" }, `Delete the index of ${collection}? Its records stay; they cannot be searched any more.`),
      make("div", { class: "row" }, make("button", { type: "button", class: "danger", onclick: end }, "Delete"),
        make("button", { type: "button", onclick: () => dialog.close() }, "Keep")));
    dialog.showModal();
  }

  #indexOf(name) { return this.#indexes.find((index) => index.collection === name); }

  #drawForm(index = this.#indexOf(this.#collections[0]?.name)) {
    const options = this.#collections.map((collection) => make("option", { value: collection.name,
      selected: collection.name === index?.collection }, collection.label || collection.name));
    if (options.length === 0) {
      this.#parts.form.replaceChildren(make("p", { class: "muted" }, "There is no collection yet: make one first."));
      return;
    }
    const collection = make("select", { id: "collection", onchange: () => {
      language.value = this.#indexOf(collection.value)?.language ?? "simple";
      this.#drawFields(fields, collection.value);
    } }, ...options);
    const language = make("select", { id: "language" }, ...[["simple", "any: words as they are"], ["english", "English: by their stems"]]
      .map(([value, text]) => make("option", { value, selected: value === index?.language }, text)));
    const fields = make("fieldset");
    const send = (event) => {
      event.preventDefault();
      const chosen = [...fields.querySelectorAll("input[type=checkbox]:checked")];
      const body = { language: language.value, fields: chosen.map((box) => ({ name: box.value,
        weight: Number(fields.querySelector(`#${CSS.escape(`weight-${box.value}`)}`).value) })) };
      const path = `/api/search/indexes/${encodeURIComponent(collection.value)}`;
      return this.#attempt(async () => { await this.#ask(path, "PUT", body); await this.#refresh(); }, `The index of ${collection.value} is being made.`);
    };
    this.#parts.form.replaceChildren(make("h2", {}, "Make or change an index"), make("form", { onsubmit: send },
      make("div", { class: "row" }, make("div", {}, make("label", { for: "collection" }, "Collection"), collection),
        make("div", {}, make("label", { for: "language" }, "Language"), language)),
      fields, make("button", { type: "submit", class: "first" }, "Index these fields")));
    this.#drawFields(fields, collection.value, index);
  }

  #drawFields(fieldset, name, index = this.#indexOf(name)) {
    const known = this.#collections.find((collection) => collection.name === name)?.schema.fields ?? [];
    const rows = known.map((field) => {
      const chosen = index?.fields.find((indexed) => indexed.name === field.name);
      const id = `field-${field.name}`;
      return make("div", { class: "field" },
        make("input", { type: "checkbox", id, value: field.name, checked: Boolean(chosen) }),
        make("label", { for: id }, `${field.name} (${field.type})`),
        make("input", { type: "number", id: `weight-${field.name}`, min: "0.1", max: "10", step: "0.1",
          value: String(chosen?.weight ?? 1), "aria-label": `Weight of ${field.name}` }));
    });
    fieldset.replaceChildren(make("legend", {}, "Fields, and how much a word in them counts"), ...rows);
  }

  #tryOut() {
    const query = make("input", { type: "search", id: "query", placeholder: "words \"a phrase\" -not prefix*" });
    const search = (event) => {
      event.preventDefault();
      const path = `/api/search?highlight=true&limit=${SEARCH_LIMIT}&q=${encodeURIComponent(query.value)}`;
      return this.#attempt(async () => this.#drawHits(await this.#ask(path)));
    };
    return make("section", { "aria-labelledby": "try" }, make("h2", { id: "try" }, "Try a search"),
      make("form", { onsubmit: search, role: "search" }, make("label", { for: "query" }, "Query"),
        make("div", { class: "row" }, query, make("button", { type: "submit" }, "Search"))), this.#parts.hits);
  }

  #drawHits(found) {
    const hits = found.hits.map((hit) => make("li", {}, make("span", { class: "muted" }, `${hit.collection} · ${hit.id}`),
      make("div", {}, ...snippetNodes(hit.snippet ?? ""))));
    this.#parts.hits.replaceChildren(...(hits.length > 0 ? hits : [make("p", { class: "muted" }, "Nothing was found.")]));
  }
}

customElements.define("tinybase-search", SearchPage);
