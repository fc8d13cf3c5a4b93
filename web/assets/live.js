// Keeps a page up to date. One EventSource says when the page is out of date; then
// the page is asked for again, and what changed in its regions takes the place of
// what is there. The server alone decides what a page says.
//
// The stream is closed while the page cannot be seen or is paused, and is resumed
// from the last event. Other modules hear of each event as "tasker:<event>", and of
// each renewed page as "tasker:page".

const data = document.body.dataset;
const button = document.getElementById("live");
const say = document.getElementById("say");

// Milliseconds. A page that is costly for the server is renewed less often.
const pause = "large" in data ? 5000 : data.stamp || data.endpoint ? 1000 : 2000;
const retryEvery = 5000;
const sayEvery = 5000;

let source = null;
let lastEvent = "";
let ended = false; // nothing more will come
let paused = sessionStorage.getItem("tasker:paused") === "true";
let dirty = false;
let loading = false;
let earliest = 0; // of the next renewal
let renewed = Date.now();
let timer = 0;
let said = { text: say.dataset.say, at: 0, timer: 0 };

function active() {
	return !paused && !document.hidden;
}

// The numbers of a task, as the server writes them into the page.
function stampOf(task, s) {
	const numbers = [s.expected, s.received, s.finished, s.failed, s.canceled, s.lost];
	const rollout = task.rollout ? " " + (task.rollout.state || "") + " " + task.rollout.wave : "";
	return task.status + " " + numbers.join(" ") + rollout;
}

function outdated(name, event) {
	if (data.endpoint) {
		return name === "snapshot" || name === "end" || event.endpoint === data.endpoint;
	}
	if (data.stamp) {
		return name === "end" || Boolean(event.summary) && stampOf(event.task, event.summary) !== data.stamp;
	}
	return true;
}

function onEvent(name, message) {
	if (message.lastEventId) {
		lastEvent = message.lastEventId;
	}
	let event;
	try {
		event = JSON.parse(message.data);
	} catch {
		return;
	}
	document.dispatchEvent(new CustomEvent("tasker:" + name, { detail: event }));
	if (name === "end") {
		ended = true;
		close();
		show();
	}
	if (outdated(name, event)) {
		renewSoon();
	}
}

function open() {
	if (source || ended || !data.events || !active()) {
		return;
	}
	const query = lastEvent ? "?last_event_id=" + encodeURIComponent(lastEvent) : "";
	source = new EventSource(new URL(data.events + query, document.baseURI));
	for (const name of ["snapshot", "task", "result", "progress", "log", "left_out", "end"]) {
		source.addEventListener(name, (message) => onEvent(name, message));
	}
	source.addEventListener("open", show);
	source.addEventListener("error", () => {
		// A browser gives up on an answer that is not a stream: try again later. The
		// page says whether the token is no longer valid.
		if (source && source.readyState === EventSource.CLOSED) {
			close();
			setTimeout(open, retryEvery);
			renewSoon();
		}
		show();
	});
}

function close() {
	if (source) {
		source.close();
		source = null;
	}
}

function show() {
	if (!button) {
		return;
	}
	button.hidden = false;
	button.setAttribute("aria-pressed", String(!paused));
	const connected = source && source.readyState === EventSource.OPEN;
	let text = "Live";
	if (paused) {
		text = "Paused";
	} else if (ended) {
		text = "Ended";
	} else if (!connected) {
		text = "Connecting…";
	}
	button.textContent = text;
	button.dataset.state = paused ? "paused" : connected ? "live" : "idle";
}

function renewSoon() {
	dirty = true;
	if (!active() || loading || timer) {
		return;
	}
	timer = setTimeout(renew, Math.max(0, earliest - Date.now()));
}

// renew asks for the page. One that takes long is not asked for at once again.
async function renew() {
	timer = 0;
	if (!dirty || !active()) {
		return;
	}
	dirty = false;
	loading = true;
	const begun = Date.now();
	renewed = begun;
	let least = retryEvery;
	try {
		const answer = await fetch(location.href, { headers: { Accept: "text/html" }, redirect: "follow" });
		if (answer.redirected) {
			location.reload(); // the token is no longer valid
			return;
		}
		if (answer.ok) {
			replace(new DOMParser().parseFromString(await answer.text(), "text/html"));
			least = pause;
		}
	} catch {
		dirty = true; // the server is away
	} finally {
		loading = false;
		earliest = Date.now() + Math.max(least, 4 * (Date.now() - begun));
	}
	if (dirty) {
		renewSoon();
	}
}

// selecting reports whether a person is selecting text in an element. Neither that nor
// a form that is open is taken away.
function selecting(element) {
	const selection = document.getSelection();
	return selection && !selection.isCollapsed && element.contains(selection.anchorNode);
}

// The name of an element that can have the focus, by which it is found again.
function nameOf(element) {
	return element.tagName + " " + (element.getAttribute("href") || element.textContent);
}

function replace(page) {
	data.stamp = page.body.dataset.stamp || "";
	document.title = page.title;
	for (const fresh of page.querySelectorAll("[data-region]")) {
		const old = document.getElementById(fresh.id);
		if (!old || old.innerHTML === fresh.innerHTML || selecting(old) || old.querySelector("details[open]")) {
			continue;
		}
		const focus = old.contains(document.activeElement) ? nameOf(document.activeElement) : null;
		const bottom = atBottom();
		const top = document.getElementById("lines")?.scrollTop;
		old.replaceChildren(...document.importNode(fresh, true).childNodes);
		if (focus) {
			Array.from(old.querySelectorAll("a[href], summary, button")).find((e) => nameOf(e) === focus)?.focus({ preventScroll: true });
		}
		if (fresh.id === "log") {
			scrollLog(bottom, top);
		}
	}
	announce(page.getElementById("say")?.dataset.say || "");
	document.dispatchEvent(new CustomEvent("tasker:page"));
	if (data.events && !page.body.dataset.events) {
		ended = true; // the new page needs no stream
		close();
		show();
	}
	data.poll = page.body.dataset.poll || "";
}

// A log follows its end, unless somebody has scrolled away from it.
function atBottom() {
	const lines = document.getElementById("lines");
	return !lines || lines.scrollHeight - lines.scrollTop - lines.clientHeight < 30;
}

function scrollLog(bottom, top) {
	const lines = document.getElementById("lines");
	if (lines) {
		lines.scrollTop = bottom ? lines.scrollHeight : top;
	}
}

function announce(text) {
	if (text === said.text || said.timer) {
		said.text = said.timer ? text : said.text;
		return;
	}
	said.text = text;
	said.timer = setTimeout(() => {
		said.timer = 0;
		said.at = Date.now();
		say.textContent = said.text;
	}, Math.max(0, said.at + sayEvery - Date.now()));
}

function change() {
	if (active()) {
		open();
		if (dirty) {
			renewSoon();
		}
	} else {
		close();
	}
	show();
}

if (data.events) {
	button?.addEventListener("click", () => {
		paused = !paused;
		sessionStorage.setItem("tasker:paused", String(paused));
		dirty = dirty || !paused;
		change();
	});
	document.addEventListener("visibilitychange", change);
	addEventListener("pagehide", close);
	addEventListener("pageshow", (event) => {
		if (event.persisted) {
			dirty = true;
			change();
		}
	});
	setInterval(() => {
		if (data.poll && active() && Date.now() - renewed >= 1000 * Number(data.poll)) {
			renewSoon();
		}
	}, 1000);
	change();
}
scrollLog(true);
