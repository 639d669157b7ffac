// The page: it talks to the server it comes from, and to no other.

const HEADERS = { "X-Facemend": "1" };
const STAGES = {
  load: "Loading the models", detect: "Looking for faces", repair: "Repairing scratches", restore: "Restoring faces",
  upscale: "Enlarging", paste: "Putting the faces back", download: "Downloading", decode: "Reading the photo",
  align: "Turning the faces upright", encode: "Writing the file", wait: "Waiting for other photos",
};
const HINTS = {
  whole: "Drag the line, or use the arrow keys. Left of it is the photo, right of it the result.",
  part: "Drag the bar under the picture to compare, and the picture itself to see another part.",
};
const UNREACHABLE = "There is no answer: is 'facemend web' still running?";
const SCALES = [1, 1.5, 2, 3, 4, 6, 8];
const ROOM = 0.66; // of the window's height that a picture may take
const LABEL = 26; // px, height of a face's number
const FACE_SHARE = 0.6; // of the room that a face takes when it is zoomed to

const photos = []; // { file, key, size, faces (boxes), chosen (Set), result, showsResult, zoom }
let offer = null; // what the server offers
let current = null; // the photo that is shown
let running = null; // AbortController of the work that can be stopped
let seen = null; // the middle of what is seen, as shares of the picture
let reading = null; // Promise of what was read last; files are read one after the other

const $ = (id) => document.getElementById(id);
const sized = (bytes) =>
  bytes < 1e6 ? `${Math.ceil(bytes / 1e3)} kB` : `${(bytes / 1e6).toFixed(bytes < 1e7 ? 1 : 0)} MB`;
const element = (name, text = "", properties = {}) =>
  Object.assign(document.createElement(name), { textContent: text, ...properties });
const stem = (name) => name.replace(/\.[^.]*$/, "") || "photo";
const link = ({ file, result }) =>
  ({ href: `/results/${result.key}`, download: `${stem(file.name)}_restored${result.suffix}` });

/** Replace what is in an element; a control in it that has the focus keeps it. */
function refill(parent, children) {
  const { activeElement } = document;
  const focused = parent.contains(activeElement) ? activeElement.id : null;
  parent.replaceChildren(...children);
  if (focused) $(focused)?.focus({ preventScroll: true });
}

class Refused extends Error {
  constructor(status, message) {
    super(message);
    this.status = status;
  }
}

/** Wait for something that comes from the server. */
async function arrived(promise) {
  try {
    return await promise;
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new Error(UNREACHABLE, { cause: error });
  }
}

/** Wait, or until a signal aborts. */
function pause(seconds, signal) {
  return new Promise((resolve, reject) => {
    setTimeout(resolve, 1000 * seconds);
    signal?.addEventListener("abort", () => reject(signal.reason));
  });
}

/** Send a request whose answer is a stream of events; return what its last event tells. */
async function ask(path, body, tell, signal) {
  const answer = await arrived(fetch(path, { method: "POST", headers: HEADERS, body, signal }));
  const seconds = answer.headers.get("Retry-After");
  if (seconds) { // all places are taken
    tell({ stage: "wait", done: 0, total: 1 });
    await pause(seconds, signal);
    return ask(path, body, tell, signal);
  }
  if (!answer.ok) throw new Refused(answer.status, (await arrived(answer.text())).trim());
  const reader = answer.body.pipeThrough(new TextDecoderStream()).getReader();
  for (let text = ""; ; ) {
    const { value, done } = await arrived(reader.read());
    if (done) throw new Error(UNREACHABLE);
    const events = (text + value).split("\n\n");
    text = events.pop();
    for (const event of events) {
      const [, kind, data] = event.match(/^event: (\w+)\ndata: (.*)$/) ?? [];
      if (kind === "done") return JSON.parse(data);
      if (kind === "failed") throw new Error(JSON.parse(data).error);
      if (kind === "progress") tell(JSON.parse(data));
    }
  }
}

/** What an error tells the user, who may have stopped the work. */
function explained(error) {
  return error.name === "AbortError" ? "Stopped." : error.message;
}

function say(text, isProblem = false) {
  if ($("said").textContent !== text) $("said").textContent = text; // screen readers say it each time it is set
  $("count").textContent = "";
  $("status").classList.toggle("problem", isProblem);
}

/** Show a problem that has nothing to do with the photo that is shown. */
function complain(error, about = "") {
  $("problems").append(element("li", about + explained(error)));
}

function showProgress({ stage, done, total }, about = "") {
  const parts = stage === "download" ? `${sized(done)} of ${sized(total)}` : `${done} of ${total}`;
  say(about + STAGES[stage] + (total > 1 ? ": " : " …"));
  $("count").textContent = total > 1 ? parts : ""; // not said: there may be hundreds of tiles
  if (total > 1) $("progress").value = done / total;
  else $("progress").removeAttribute("value");
}

/** Do something that can be stopped; say what it is doing, and what went wrong. */
async function work(job) {
  running = new AbortController();
  const started = document.activeElement;
  showButtons();
  if (started.hidden || started.disabled) $("stop").focus();
  try {
    say(await job(running.signal));
  } catch (error) {
    say(explained(error), error.name !== "AbortError");
  }
  const stopping = document.activeElement === $("stop");
  running = null;
  showButtons();
  if (stopping) (started.isConnected && !started.disabled ? started : $("restore")).focus();
}

// Photos

function add(files) {
  if (!running) $("problems").replaceChildren(); // else some may be of the work that runs
  const batch = { isShown: running !== null };
  for (const file of files) {
    reading = reading.then(() => read(file, batch));
  }
}

/** Read a file; show the first photo of a batch. */
async function read(file, batch) {
  document.body.classList.remove("first");
  $("reading").textContent = `Reading ${file.name} …`;
  try {
    if (offer === null) await begin(); // the server did not answer when the page was opened
    if (file.size > offer.max_upload) throw new Error(`it is over the limit of ${sized(offer.max_upload)}`);
    const photo = { file, result: null, showsResult: false, zoom: "fit" };
    await send(photo);
    photo.thumbnail = element("img", "", { src: `/photos/${photo.key}/thumbnail`, alt: "" });
    photos.push(photo);
    if (batch.isShown || running) showQueue();
    else show(photo);
    batch.isShown = true;
  } catch (error) {
    complain(error, `${file.name}: `);
  }
  $("reading").textContent = "or drop them here, or paste one.";
  $("choose").textContent = photos.length ? "Add photos" : "Choose photos";
  document.body.classList.toggle("first", !photos.length);
}

/** Send a photo to the server, which keeps it in memory for a while. */
async function send(photo) {
  try {
    await photo.file.slice(0, 1).arrayBuffer();
  } catch {
    throw new Error("It is a folder, or cannot be read any more. Choose the photos again.");
  }
  const told = await ask("/photos", photo.file, () => {});
  Object.assign(photo, told, { chosen: new Set(told.faces.keys()) });
}

/** Send a photo that the server has forgotten; the choice of faces is kept if the same ones are found. */
async function sendAgain(photo) {
  const { faces, chosen } = photo;
  await send(photo);
  if (String(photo.faces) === String(faces)) photo.chosen = chosen;
  if (photo === current) showFound();
}

const chosenOptions = () => ({
  restorer: $("restorer").value, upscaler: $("upscaler").value, scale: Number($("scale").value),
  strength: Number($("strength").value), fidelity: Number($("fidelity").value), repair: $("repair").checked,
  format: $("format").value,
});

async function restore(photo, options, signal, about = "") {
  const tell = (event) => showProgress(event, about);
  const once = () => {
    const faces = photo.chosen.size < photo.faces.length ? [...photo.chosen].sort((a, b) => a - b) : null; // all
    return ask(`/photos/${photo.key}/restore`, JSON.stringify({ ...options, faces }), tell, signal);
  };
  say(`${about}Waiting for its turn …`);
  try {
    photo.result = await once();
  } catch (error) {
    if (error.status !== 404) throw error;
    await sendAgain(photo);
    photo.result = await once();
  }
  photo.showsResult = true;
  if ($("save").checked) {
    element("a", "", link(photo)).click();
    photo.result.isSaved = true;
  }
  if (photo === current) show(photo);
  else showQueue();
  return `Done in ${photo.result.seconds.total.toFixed(1)} seconds.`;
}

/** Restore the photo that is shown; by the end the user may look at another one. */
async function restoreShown(signal) {
  const photo = current;
  const about = () => (photo === current ? "" : `${photo.file.name}: `);
  try {
    const told = await restore(photo, chosenOptions(), signal);
    return about() + told;
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new Error(about() + error.message, { cause: error });
  }
}

async function restoreAll(signal) {
  $("problems").replaceChildren();
  const options = chosenOptions(); // they may be changed while the work runs
  let done = 0;
  let last = current;
  for (const [index, photo] of photos.entries()) {
    if (current === last) show(photo); // else the user looks at another one
    last = photo;
    try {
      await restore(photo, options, signal, `Photo ${index + 1} of ${photos.length}: `);
      done += 1;
    } catch (error) {
      if (error.name === "AbortError" || error.message === UNREACHABLE) throw error;
      complain(error, `${photo.file.name}: `);
    }
  }
  const told = `${done} of ${photos.length} photos are done`;
  if (done === 0) return `${told}.`;
  const unsaved = photos.filter(({ result }) => result && !result.isSaved);
  if (unsaved.length === 0) return `${told}. The browser downloads the results.`;
  await Promise.all(unsaved.map((photo) => checkKept(photo, photo.result)));
  showQueue();
  const forgotten = unsaved.filter(({ result }) => !result).length;
  return forgotten
    ? `${told}, but ${forgotten} of the results are not in memory any more. `
      + 'Tick "Download each result when done", and restore all again.'
    : `${told}. Choose one to see and download it.`;
}

// What is shown

function show(photo) {
  const isOther = current !== photo;
  if (isOther && !running) say("");
  current = photo;
  $("work").hidden = false;
  const { result } = photo;
  draw($("before"), `/photos/${photo.key}/view`, `The photo ${photo.file.name}`);
  if (result) {
    draw($("after"), `/results/${result.key}/view`, `The result of ${photo.file.name}`);
    showOutcome(photo);
    checkKept(photo, result).catch(complain);
  }
  $("outcome").hidden = $("result").hidden = !result;
  $("restore").classList.toggle("main", !result);
  $("slider").value = 50;
  showQueue();
  if (isOther) showInQueue(photo);
  showFound();
}

/** Scroll the queue, and nothing around it, to a photo. */
function showInQueue(photo) {
  const { offsetLeft, offsetWidth } = $(`photo-${photos.indexOf(photo)}`);
  const queue = $("queue");
  queue.scrollLeft = offsetLeft + offsetWidth / 2 - queue.offsetLeft - queue.clientWidth / 2;
}

/** Put another picture into an image; while it is on its way, the last one is not shown in its place. */
function draw(image, src, alt) {
  if (image.getAttribute("src") !== src) image.removeAttribute("src");
  Object.assign(image, { src, alt });
}

/** Tell it if the server has forgotten a result: there is nothing to download. */
async function checkKept(photo, result) {
  const { status } = await arrived(fetch(`/results/${result.key}`, { method: "HEAD" }));
  if (status !== 404 || photo.result !== result) return;
  photo.result = null;
  if (photo !== current) return;
  show(photo);
  say("This result is not in memory any more. Restore the photo again.", true);
}

function showQueue() {
  $("queue").hidden = photos.length < 2;
  refill($("queue"), photos.map((photo, index) => {
    const button = element("button", "", { type: "button", id: `photo-${index}`, onclick: () => show(photo) });
    button.setAttribute("aria-pressed", photo === current);
    const name = element("span", `${photo.result ? "✓ " : ""}${photo.file.name}`, { dir: "auto" }); // shows its start
    button.append(photo.thumbnail, name);
    const item = element("li");
    item.append(button);
    return item;
  }));
  showButtons();
}

/** Show the faces of the photo, and the buttons that zoom to them. */
function showFound() {
  showFaces();
  showViews();
}

function showFaces() {
  const { faces, chosen, size } = current;
  const boxes = faces.map(([x0, y0, x1, y1], index) => {
    const box = element("div", "", { onclick: () => $(`face-${index}`).click() });
    box.append(element("span", index + 1));
    box.classList.toggle("on", chosen.has(index));
    const edges = { left: x0 / size[0], top: y0 / size[1], width: (x1 - x0) / size[0], height: (y1 - y0) / size[1] };
    for (const [edge, share] of Object.entries(edges)) box.style[edge] = `${100 * share}%`;
    return box;
  });
  $("boxes").replaceChildren(...boxes);
  refill($("chosen"), faces.map((_, index) => {
    const check = element("input", "", { type: "checkbox", id: `face-${index}`, checked: chosen.has(index) });
    check.onchange = () => {
      if (check.checked) chosen.add(index);
      else chosen.delete(index);
      boxes[index].classList.toggle("on", check.checked);
      look(false, "fit");
    };
    const label = element("label");
    label.append(check, `Face ${index + 1}`);
    return label;
  }));
  $("several").hidden = !current.several;
  $("none").hidden = faces.length > 0;
  $("finder").hidden = faces.length > 0 || !offer.detector;
}

/** The buttons above the picture. */
function showViews() {
  const { result, showsResult, zoom } = current;
  const button = (name, text, pressed, click) => {
    const made = element("button", text, { type: "button", id: `view-${name}`, onclick: click });
    made.setAttribute("aria-pressed", pressed);
    return made;
  };
  const compared = result !== null && showsResult;
  refill($("views"), [
    ...(result ? [
      button("faces", "Choose faces", !compared, () => look(false, "fit")),
      button("compared", "Before and after", compared, () => look(true, zoom)),
      element("span"),
    ] : []),
    button("fit", "Whole picture", zoom === "fit", () => look(showsResult, "fit")),
    button("real", "Real size (1:1)", zoom === "1:1", () => look(showsResult, "1:1")),
    ...shownBoxes().map((_, index) =>
      button(index, `Face ${index + 1}`, zoom === index, () => look(showsResult, index))),
  ]);
  for (const id of ["after", "line", "slider", "hint"]) $(id).hidden = !compared;
  $("hint").textContent = zoom === "fit" ? HINTS.whole : HINTS.part;
  $("boxes").hidden = compared;
  $("stage").classList.toggle("compared", compared);
  $("stage").classList.toggle("zoomed", zoom !== "fit");
  layOut();
}

function look(showsResult, zoom) {
  Object.assign(current, { showsResult, zoom });
  showViews();
}

/** The boxes of the faces, in px of the photo. */
function shownBoxes() {
  return current.result && current.showsResult ? current.result.faces.map((face) => face.box) : current.faces;
}

/** Remember the middle of what is seen: after the window has changed, it can no longer be computed. */
function keepPlace() {
  const { scrollLeft, scrollTop, clientWidth, clientHeight } = $("scroller");
  const { offsetWidth, offsetHeight } = $("canvas");
  seen = [
    (scrollLeft + Math.min(clientWidth, offsetWidth) / 2) / offsetWidth,
    (scrollTop + Math.min(clientHeight, offsetHeight) / 2) / offsetHeight,
  ];
}

/** Give the picture its size, and scroll to a place in it, or to what was zoomed to. */
function layOut(place = null) {
  const { zoom, result, showsResult, size } = current;
  const [width, height] = result && showsResult ? result.size : size;
  const room = { width: $("stage").clientWidth, height: Math.max(240, ROOM * window.innerHeight) };
  const box = shownBoxes()[zoom]?.map((value) => (value * width) / size[0]); // in px of what is shown
  let factor = Math.min(room.width / width, room.height / height);
  if (zoom === "1:1") factor = 1 / window.devicePixelRatio;
  if (box) factor = FACE_SHARE * Math.min(room.width / (box[2] - box[0]), room.height / (box[3] - box[1]));
  for (const [index, { classList }] of [...$("boxes").children].entries()) {
    classList.toggle("top", current.faces[index][1] * factor < LABEL);
  }
  $("canvas").style.width = `${width * factor}px`;
  $("canvas").style.height = `${height * factor}px`;
  $("scroller").style.maxHeight = zoom === "fit" ? "none" : `${room.height}px`;
  $("slider").style.width = `${Math.min(width * factor, room.width)}px`;
  const middle = box ? [(box[0] + box[2]) / 2 / width, (box[1] + box[3]) / 2 / height] : [0.5, 0.5];
  const [x, y] = place ?? middle;
  const { clientWidth, clientHeight } = $("scroller");
  $("scroller").scrollTo(x * width * factor - clientWidth / 2, y * height * factor - clientHeight / 2);
  keepPlace();
  moveLine();
}

function moveLine() {
  const canvas = $("canvas");
  const share = $("slider").value / 100;
  const shown = Math.min($("scroller").clientWidth, canvas.offsetWidth);
  const x = $("scroller").scrollLeft + share * shown;
  $("after").style.clipPath = `inset(0 0 0 ${x}px)`;
  $("line").style.left = `${x}px`;
  const percent = Math.round(100 * share);
  $("slider").setAttribute("aria-valuetext", `${percent} % photo, ${100 - percent} % result`);
}

// What the page says of the share of the pixels that were repaired; null where no repair was asked for.
function repairOf(share) {
  if (share === null) return "";
  if (share === 0) return " No damage was found.";
  return share < 0.001 ? " Less than 0.1 % was repaired." : ` ${(100 * share).toFixed(1)} % was repaired.`;
}

function showOutcome(photo) {
  const { result } = photo;
  Object.assign($("download"), link(photo));
  $("file-facts").textContent = `${result.format}, ${result.size.join(" × ")} px, ${sized(result.bytes)}`;
  const times = Object.entries(result.seconds).filter(([stage, time]) => STAGES[stage] && time >= 0.05);
  const parts = times.map(([stage, time]) => `${STAGES[stage].toLowerCase()} ${time.toFixed(1)} s`);
  const lost = result.lost.length ? ` Not kept: ${result.lost.join(", ")}.` : "";
  $("used").textContent = `Faces: ${result.restorer}. Enlarged by: ${result.upscaler}. `
    + `${result.seconds.total.toFixed(1)} seconds${parts.length ? ` (${parts.join(", ")})` : ""}.${repairOf(result.repaired)}${lost}`;
  $("became").replaceChildren(...result.faces.map((face, index) => {
    const share = face.share < 1 ? `, ${Math.round(100 * face.share)} % mixed in` : "";
    const what = face.restored ? `restored${share}` : `left as it was (${face.reason})`;
    return element("li", `Face ${index + 1}: ${what}`);
  }));
}

// Options

async function load() {
  offer = await (await arrived(fetch("/options"))).json();
  for (const [id, first] of [["restorer", "the best one here"], ["upscaler", "the best one here"]]) {
    const rows = offer[`${id}s`].map(({ name, licence, bytes }) =>
      new Option(`${name}: ${licence}${bytes ? `, ↓ ${sized(bytes)}` : ""}`, name));
    const chosen = $(id).value || "auto";
    $(id).replaceChildren(new Option(first, "auto"), ...rows);
    $(id).value = chosen;
  }
  const finder = offer.detector && downloadButton("Download a better face finder", offer.detector);
  $("finder").replaceChildren(...[finder].filter(Boolean));
}

async function begin() {
  await load();
  fill();
}

function fill() {
  const { defaults, formats, suffixes } = offer;
  const sizes = SCALES.map((scale) => new Option(scale === 1 ? "same size" : `${scale} times as large`, scale));
  $("scale").replaceChildren(...sizes);
  $("format").replaceChildren(...formats.map((name) => new Option(name === "auto" ? "like the photo" : name, name)));
  for (const name of ["scale", "strength", "fidelity"]) $(name).value = defaults[name];
  $("repair").checked = defaults.repair;
  $("file").accept = ["image/*", ...suffixes].join();
  showOptions();
}

const chosenRow = (id) => offer[`${id}s`].find(({ name }) => name === $(id).value);

function showOptions() {
  for (const id of ["strength", "fidelity"]) $(`${id}-value`).textContent = `${Math.round(100 * $(id).value)} %`;
  $("fidelity-row").hidden = !chosenRow("restorer")?.fidelity;
  const missing = ["restorer", "upscaler"].map(chosenRow).filter((row) => row?.bytes);
  $("missing").replaceChildren(...missing.map((row) => downloadButton(`First download ${row.name}`, row)));
  showButtons();
}

function downloadButton(text, { name, bytes }) {
  const button = element("button", `${text} (${sized(bytes)})`, { type: "button" });
  button.onclick = () => work(async (signal) => {
    await ask(`/models/${name}/download`, null, showProgress, signal);
    await load();
    showOptions();
    for (const photo of photos.filter(({ faces }) => !faces.length)) await send(photo); // a finder may see more now
    if (current) showFound();
    return `${name} is on this computer now.`;
  });
  return button;
}

function showButtons() {
  const missing = $("missing").childElementCount > 0;
  $("restore").hidden = running !== null;
  $("restore").disabled = missing || running !== null; // Enter in an option presses it, also where it is hidden
  $("restore").textContent = current?.result ? "Restore again" : "Restore";
  $("all").hidden = running !== null || photos.length < 2;
  $("save-row").hidden = photos.length < 2;
  $("all").disabled = missing;
  $("stop").hidden = $("progress").hidden = running === null;
  $("progress").removeAttribute("value");
  for (const button of [...$("missing").children, ...$("finder").children]) button.disabled = running !== null;
}

// Events

$("file").onchange = () => {
  add([...$("file").files]);
  $("file").value = ""; // so that the same file can be chosen again
};
document.addEventListener("paste", (event) => add([...event.clipboardData.files]));
document.addEventListener("dragover", (event) => {
  event.preventDefault();
  document.body.classList.add("over");
});
document.addEventListener("dragleave", () => document.body.classList.remove("over"));
document.addEventListener("drop", (event) => {
  event.preventDefault();
  document.body.classList.remove("over");
  add([...event.dataTransfer.files]);
});
$("options").onsubmit = (event) => {
  event.preventDefault();
  work(restoreShown);
};
$("options").oninput = (event) => {
  if (event.target.closest("#faces") === null) showOptions();
};
$("all").onclick = () => work(restoreAll);
$("stop").onclick = () => running?.abort();
$("before").onerror = async () => {
  const photo = current; // the server has forgotten it
  try {
    await sendAgain(photo);
    if (photo === current) show(photo);
  } catch (error) {
    say(explained(error), true);
  }
};
$("slider").oninput = moveLine;
$("scroller").onscroll = () => {
  keepPlace();
  moveLine();
};
window.addEventListener("beforeunload", (event) => running && event.preventDefault()); // a reload would end the work
window.addEventListener("resize", () => current && layOut(seen));
$("scroller").onpointermove = (event) => {
  if (event.buttons !== 1 || event.pointerType !== "mouse") return;
  $("scroller").scrollBy(-event.movementX, -event.movementY); // a finger scrolls by itself
};
$("scroller").ondragstart = (event) => event.preventDefault();

document.body.classList.add("first");
reading = begin().catch(complain);
