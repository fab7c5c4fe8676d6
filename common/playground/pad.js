/* The paper: black ink on white, by mouse, finger, pen or keyboard, or a picture from a file. */

const PAPER = "#fff";
const INK = "#111";
const STEP = 8; // canvas pixels that an arrow key moves; with Shift, 2
const MOVES = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };
const UNDOS = 30;

export class Pad {
  #canvas;
  #context;
  #cursor; // the element that shows where the keyboard's pen is
  #on; // { width, begun, changed, read }: the page's answers and actions
  #before = []; // the canvas before each stroke
  #last = null; // where the pen is, while it is down
  #pointer = null; // which finger draws: a second one must not
  #keys = { x: 140, y: 60, down: false };

  constructor(canvas, cursor, on) {
    this.#canvas = canvas;
    this.#context = canvas.getContext("2d", { willReadFrequently: true });
    this.#cursor = cursor;
    this.#on = on;
    Object.assign(this.#context, { lineCap: "round", lineJoin: "round", strokeStyle: INK });
    this.#wipe();
    canvas.addEventListener("pointerdown", (event) => this.#pointerDown(event));
    canvas.addEventListener("pointermove", (event) => this.#pointerMove(event));
    for (const type of ["pointerup", "pointercancel"]) {
      canvas.addEventListener(type, (event) => event.pointerId === this.#pointer && this.#lift());
    }
    canvas.addEventListener("keydown", (event) => this.#key(event));
    canvas.addEventListener("blur", () => this.#showCursor(false));
  }

  get empty() {
    return this.#before.length === 0;
  }

  get canUndo() {
    return this.#before.length > 0;
  }

  png() {
    return new Promise((resolve) => this.#canvas.toBlob(resolve, "image/png"));
  }

  undo() {
    if (this.canUndo) this.#context.putImageData(this.#before.pop(), 0, 0);
    this.#on.changed();
  }

  clear() {
    this.#wipe();
    this.#on.changed();
  }

  /* Fills the paper with the picture; rejects where the file is none. */
  async open(file) {
    const picture = await createImageBitmap(file);
    this.#remember();
    const { width, height } = this.#canvas;
    const scale = Math.min(width / picture.width, height / picture.height);
    const [w, h] = [picture.width * scale, picture.height * scale];
    this.#context.drawImage(picture, 0, 0, 1, 1, 0, 0, width, height); // its paper's colour, so that it gets no white margin
    this.#context.drawImage(picture, (width - w) / 2, (height - h) / 2, w, h);
    this.#on.changed();
  }

  #wipe() {
    this.#before = [];
    this.#last = this.#pointer = null;
    this.#keys.down = false;
    this.#cursor.classList.remove("down");
    this.#context.fillStyle = PAPER;
    this.#context.fillRect(0, 0, this.#canvas.width, this.#canvas.height);
  }

  #remember() {
    this.#before.push(this.#context.getImageData(0, 0, this.#canvas.width, this.#canvas.height));
    if (this.#before.length > UNDOS) this.#before.splice(1, 1); // the first is the empty paper: it stays
  }

  #lower(point) {
    this.#remember();
    this.#on.begun();
    this.#last = point;
    this.#lineTo(point); // a dot
  }

  #lineTo(point) {
    this.#context.lineWidth = this.#on.width();
    this.#context.beginPath();
    this.#context.moveTo(this.#last.x, this.#last.y);
    this.#context.lineTo(point.x, point.y);
    this.#context.stroke();
    this.#last = point;
  }

  #lift() {
    if (!this.#last) return;
    this.#last = this.#pointer = null;
    this.#on.changed();
  }

  #pointerDown(event) {
    if (this.#last || event.button !== 0) return;
    this.#showCursor(false);
    this.#canvas.setPointerCapture(event.pointerId);
    this.#pointer = event.pointerId;
    this.#lower(this.#point(event));
  }

  #pointerMove(event) {
    if (event.pointerId !== this.#pointer || !this.#last) return;
    const between = event.getCoalescedEvents?.() ?? [];
    for (const moved of between.length ? between : [event]) this.#lineTo(this.#point(moved));
  }

  /* Where on the canvas, whose size on the screen may be another. */
  #point({ clientX, clientY }) {
    const box = this.#canvas.getBoundingClientRect();
    const scale = this.#canvas.width / box.width;
    return { x: (clientX - box.left) * scale, y: (clientY - box.top) * scale };
  }

  #key(event) {
    const move = MOVES[event.key];
    if (move) this.#moveBy(move, event.shiftKey ? 2 : STEP);
    else if (event.key === " ") this.#toggle();
    else if (event.key === "Enter") this.#on.read();
    else if (event.key === "Delete") this.clear();
    else if (event.key === "z" && (event.ctrlKey || event.metaKey)) this.undo();
    else return;
    event.preventDefault(); // no scrolling
  }

  #moveBy([x, y], step) {
    const { width, height } = this.#canvas;
    this.#keys.x = Math.min(width, Math.max(0, this.#keys.x + x * step));
    this.#keys.y = Math.min(height, Math.max(0, this.#keys.y + y * step));
    if (this.#keys.down) this.#lineTo({ x: this.#keys.x, y: this.#keys.y });
    this.#showCursor(true);
  }

  #toggle() {
    if (this.#pointer !== null) return;
    this.#keys.down = !this.#keys.down;
    if (this.#keys.down) this.#lower({ x: this.#keys.x, y: this.#keys.y });
    else this.#lift();
    this.#showCursor(true);
  }

  /* Hiding it lifts the keyboard's pen. */
  #showCursor(visible) {
    this.#cursor.hidden = !visible;
    if (!visible && this.#keys.down) {
      this.#keys.down = false;
      this.#lift();
    }
    this.#cursor.classList.toggle("down", this.#keys.down);
    this.#cursor.style.left = `${(100 * this.#keys.x) / this.#canvas.width}%`;
    this.#cursor.style.top = `${(100 * this.#keys.y) / this.#canvas.height}%`;
  }
}
