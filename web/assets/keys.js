// Keys: j and k go through the rows, / to the filter, ? shows what there is. Enter
// follows the link that has the focus, as everywhere.

const help = [
	["j, k", "next and previous row"],
	["Enter", "open it"],
	["/", "filter"],
	["n", "Now"],
	["t", "Tasks"],
	["e", "Endpoints"],
	["s", "Schedules"],
	["p", "live or paused"],
	["?", "this list"],
];
const pages = { n: "./", t: "tasks", e: "endpoints", s: "schedules" };
const button = document.getElementById("keys");
let dialog = null;

function rows() {
	return Array.from(document.querySelectorAll("[data-row]"));
}

function step(by) {
	const all = rows();
	if (!all.length) {
		return;
	}
	const here = all.indexOf(document.activeElement);
	const next = here < 0 ? (by > 0 ? 0 : all.length - 1) : Math.min(all.length - 1, Math.max(0, here + by));
	all[next].focus();
}

function show() {
	if (!dialog) {
		dialog = document.createElement("dialog");
		dialog.setAttribute("aria-labelledby", "keys-title");
		const title = document.createElement("h2");
		title.id = "keys-title";
		title.textContent = "Keys";
		const list = document.createElement("dl");
		list.className = "keys";
		for (const [key, what] of help) {
			const term = document.createElement("dt");
			const name = document.createElement("kbd");
			name.textContent = key;
			term.append(name);
			const meaning = document.createElement("dd");
			meaning.textContent = what;
			list.append(term, meaning);
		}
		const form = document.createElement("form");
		form.method = "dialog";
		const close = document.createElement("button");
		close.textContent = "Close";
		form.append(close);
		dialog.append(title, list, form);
		document.body.append(dialog);
	}
	if (!dialog.open) {
		dialog.showModal();
	}
}

function onKey(event) {
	const target = event.target;
	const types = target.isContentEditable || /^(INPUT|TEXTAREA|SELECT)$/.test(target.tagName);
	if (types || event.ctrlKey || event.metaKey || event.altKey || dialog?.open) {
		return;
	}
	switch (event.key) {
	case "j":
		step(1);
		break;
	case "k":
		step(-1);
		break;
	case "/":
		document.querySelector(".filter input")?.focus();
		break;
	case "p":
		document.getElementById("live")?.click();
		break;
	case "?":
		show();
		break;
	default:
		if (!(event.key in pages)) {
			return;
		}
		location.href = new URL(pages[event.key], document.baseURI);
	}
	event.preventDefault();
}

document.addEventListener("keydown", onKey);
button.hidden = false;
button.addEventListener("click", show);
