// Draws the grid of a task: a cell for each endpoint, by name. It is read with one
// request, results that change are drawn as their events come, and it is read again
// when changes were left out.

const box = document.getElementById("grid");
const canvas = box?.querySelector("canvas");
const at = document.getElementById("grid-at");

// A letter of the server, how it looks, and what it means. The shapes differ, so that
// no colour is needed to tell them apart.
const looks = {
	d: ["--ok", "full", "DONE"],
	f: ["--bad", "cross", "FAILED"],
	t: ["--bad", "cross", "TIMED_OUT"],
	j: ["--bad", "cross", "REJECTED"],
	e: ["--bad", "cross", "EXPIRED"],
	r: ["--run", "half", "RUNNING"],
	w: ["--wait", "frame", "RECEIVED"],
	y: ["--warn", "half", "RETRYING"],
	l: ["--warn", "frame", "LOST"],
	c: ["--off", "dash", "CANCELED"],
	s: ["--off", "dash", "SUPERSEDED"],
	m: ["--warn", "dot", "MISSING: has not received it"],
	o: ["--wait", "frame", "another state"],
};
const letters = Object.fromEntries(Object.entries(looks).map(([letter, look]) => [look[2], letter]));

const rereadAfter = 5000; // milliseconds
let names = [];
let states = [];
let index = new Map();
let cell = 10;
let columns = 1;
let cursor = -1;
let reading = false;
let stale = false;
let nextRead = 0;
let drawing = false;

async function read() {
	if (reading) {
		return;
	}
	reading = true;
	stale = false;
	try {
		const answer = await fetch(new URL(box.dataset.grid, document.baseURI), { cache: "no-cache" });
		if (answer.ok) {
			const grid = await answer.json();
			names = grid.names;
			states = Array.from(grid.states);
			index = new Map(names.map((name, i) => [name, i]));
			box.hidden = false;
			paint();
		}
	} catch {
		stale = true;
	} finally {
		reading = false;
		nextRead = Date.now() + rereadAfter;
	}
}

function readSoon() {
	if (stale) {
		return;
	}
	stale = true;
	setTimeout(() => stale && read(), Math.max(0, nextRead - Date.now()));
}

// draw draws everything with the next frame, four times a second at most.
function draw() {
	if (!drawing) {
		drawing = true;
		setTimeout(() => requestAnimationFrame(() => {
			drawing = false;
			paint();
		}), 250);
	}
}

function paint() {
	const width = box.clientWidth;
	if (!names.length || !width) {
		return;
	}
	cell = names.length <= 200 ? 20 : names.length <= 2000 ? 14 : 9;
	columns = Math.max(1, Math.floor(width / cell));
	const rows = Math.ceil(names.length / columns);
	const scale = window.devicePixelRatio || 1;
	canvas.width = columns * cell * scale;
	canvas.height = rows * cell * scale;
	canvas.style.width = columns * cell + "px";
	canvas.style.height = rows * cell + "px";
	const style = getComputedStyle(document.documentElement);
	const colors = {};
	for (const [color] of Object.values(looks)) {
		colors[color] = style.getPropertyValue(color).trim();
	}
	const paper = style.getPropertyValue("--paper").trim();
	const pen = canvas.getContext("2d");
	pen.setTransform(scale, 0, 0, scale, 0, 0);
	states.forEach((letter, i) => {
		const [color, shape] = looks[letter] || looks.o;
		mark(pen, shape, colors[color], paper, (i % columns) * cell, Math.floor(i / columns) * cell);
	});
	if (cursor >= 0) {
		pen.strokeStyle = style.getPropertyValue("--ink").trim();
		pen.lineWidth = 2;
		pen.strokeRect((cursor % columns) * cell, Math.floor(cursor / columns) * cell, cell, cell);
	}
}

function mark(pen, shape, color, paper, x, y) {
	const size = cell - 2;
	pen.fillStyle = color;
	pen.strokeStyle = color;
	pen.lineWidth = 1;
	switch (shape) {
	case "full":
		pen.globalAlpha = 0.45; // what is well is not to draw the eye
		pen.fillRect(x + 1, y + 1, size, size);
		pen.globalAlpha = 1;
		break;
	case "half":
		pen.strokeRect(x + 1.5, y + 1.5, size - 1, size - 1);
		pen.fillRect(x + 1, y + 1 + size / 2, size, size / 2);
		break;
	case "frame":
		pen.strokeRect(x + 1.5, y + 1.5, size - 1, size - 1);
		break;
	case "dash":
		pen.fillRect(x + 1, y + cell / 2 - 1, size, 2);
		break;
	case "dot":
		pen.fillRect(x + cell / 2 - 2, y + cell / 2 - 2, 4, 4);
		break;
	default:
		pen.fillRect(x + 1, y + 1, size, size);
		pen.strokeStyle = paper;
		pen.lineWidth = cell > 10 ? 2 : 1.5;
		pen.beginPath();
		pen.moveTo(x + 2, y + 2);
		pen.lineTo(x + cell - 2, y + cell - 2);
		pen.moveTo(x + cell - 2, y + 2);
		pen.lineTo(x + 2, y + cell - 2);
		pen.stroke();
	}
}

function cellAt(event) {
	const i = Math.floor(event.offsetY / cell) * columns + Math.floor(event.offsetX / cell);
	return event.offsetX < columns * cell && i < names.length ? i : -1;
}

function tell(i) {
	if (i >= 0) {
		at.textContent = names[i] + ": " + (looks[states[i]] || looks.o)[2];
	}
}

function move(to) {
	cursor = Math.min(names.length - 1, Math.max(0, to));
	tell(cursor);
	draw();
	paint();
}

function visit(i) {
	if (i >= 0 && states[i] !== "m") {
		location.href = new URL(box.dataset.results + names[i], document.baseURI);
	}
}

function change(result) {
	const i = index.get(result.endpoint);
	if (i === undefined) {
		readSoon(); // an endpoint that joined
		return;
	}
	states[i] = letters[result.state] || "o";
	draw();
}

if (box && canvas) {
	canvas.addEventListener("mousemove", (event) => tell(cellAt(event)));
	canvas.addEventListener("click", (event) => visit(cellAt(event)));
	canvas.addEventListener("keydown", (event) => {
		const steps = { ArrowLeft: -1, ArrowRight: 1, ArrowUp: -columns, ArrowDown: columns };
		if (event.key in steps) {
			event.preventDefault();
			move(cursor < 0 ? 0 : cursor + steps[event.key]);
		} else if (event.key === "Enter") {
			visit(cursor);
		}
	});
	document.addEventListener("tasker:result", (event) => change(event.detail));
	document.addEventListener("tasker:snapshot", (event) => {
		if (event.detail.results_left_out) {
			readSoon();
		} else {
			(event.detail.taskResponseList || []).forEach(change);
		}
	});
	document.addEventListener("tasker:left_out", readSoon);
	document.addEventListener("tasker:end", readSoon);
	addEventListener("resize", draw);
	matchMedia("(prefers-color-scheme: dark)").addEventListener("change", draw);
	read();
}
