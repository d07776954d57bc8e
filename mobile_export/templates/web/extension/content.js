/**
 * The dialog at a picture of the page, and the edit in its place. Injected by the menu; a second injection finds the
 * first one. Its elements live in a closed shadow tree, so that page and dialog don't style each other.
 */

(() => {
    if (globalThis.nanoedge) return;
    globalThis.nanoedge = true;

    const GAP = 12;
    const IDEAS = ["warmer", "auto enhance", "blur the background", "black and white"];
    let dialog = null;

    chrome.runtime.onMessage.addListener(({ kind, picture, place }) => {
        if (kind !== "ask") return;
        dialog?.close();
        const image = shownImage(picture);
        if (image) dialog = new Dialog(image, place);
    });

    /** The image with this address that is seen; the largest one if there are several. */
    function shownImage(address) {
        const seen = ({ x, y, right, bottom }) => right > 0 && bottom > 0 && x < innerWidth && y < innerHeight;
        const area = (image) => image.clientWidth * image.clientHeight * (seen(image.getBoundingClientRect()) ? 2 : 1);
        return [...document.images]
            .filter((image) => image.currentSrc === address || image.src === address)
            .sort((a, b) => area(b) - area(a))[0];
    }

    class Dialog {
        #image;
        #host = document.createElement("div");
        #root = this.#host.attachShadow({ mode: "closed" });
        #port = null;
        #original;
        #edited = null;

        constructor(image, place) {
            this.#image = image;
            this.#original = new Original(image);
            this.#root.innerHTML = globalThis.nanoedgeCard;
            this.#of(".place").textContent = place;
            this.#of(".ideas").append(...IDEAS.map((idea) => this.#ideaButton(idea)));
            this.#listen();
            document.documentElement.append(this.#host);
            this.#place();
            this.#of("input").focus();
        }

        close() {
            this.#stop();
            this.#host.remove();
        }

        #of(selector) {
            return this.#root.querySelector(selector);
        }

        #listen() {
            this.#of("form").addEventListener("submit", (event) => {
                event.preventDefault();
                this.#edit(this.#of("input").value);
            });
            this.#of(".close").addEventListener("click", () => this.close());
            this.#of(".stop").addEventListener("click", () => this.#stop());
            this.#of(".undo").addEventListener("click", () => this.#toggle());
            for (const kind of ["keydown", "keyup", "keypress"]) {
                this.#host.addEventListener(kind, (event) => {
                    event.stopPropagation(); // the page's shortcuts are not meant
                    if (kind === "keydown" && event.key === "Escape") this.close();
                });
            }
        }

        #ideaButton(idea) {
            const button = Object.assign(document.createElement("button"), { type: "button", textContent: idea });
            button.addEventListener("click", () => {
                this.#of("input").value = idea;
                this.#edit(idea);
            });
            return button;
        }

        /** Beside the picture where there is room, else inside it, at its lower left corner. */
        #place() {
            const { left, right, top, bottom } = this.#image.getBoundingClientRect();
            const { offsetWidth: width, offsetHeight: height } = this.#of(".card");
            const [mostLeft, mostTop] = [innerWidth - width - GAP, innerHeight - height - GAP];
            const inside = (value, most) => Math.max(GAP, Math.min(value, most));
            const places = [
                [right + GAP, inside(top, mostTop)],
                [left - width - GAP, inside(top, mostTop)],
                [inside(left, mostLeft), bottom + GAP],
                [inside(left, mostLeft), top - height - GAP],
                [inside(left + GAP, mostLeft), inside(bottom - height - GAP, mostTop)],
            ];
            const fits = ([x, y]) => x >= GAP && x <= mostLeft && y >= GAP && y <= mostTop;
            const [x, y] = places.find(fits) ?? places.at(-1);
            Object.assign(this.#host.style, { left: `${x + scrollX}px`, top: `${y + scrollY}px` });
        }

        async #edit(instruction) {
            if (this.#port) return;
            this.#say("");
            this.#busy(true);
            const port = (this.#port = chrome.runtime.connect({ name: "edit" }));
            port.onMessage.addListener((message) => this.#arrived(message));
            port.onDisconnect.addListener(
                () => this.#port === port && this.#fail("The extension has stopped. Try again."),
            );
            const picture = this.#original.address;
            port.postMessage({ picture, data: await ownPicture(picture), instruction });
        }

        #arrived({ kind, fraction, text, picture, warnings }) {
            if (kind === "progress") return void (this.#of("progress").value = fraction);
            if (kind === "error") return this.#fail(text);
            this.#stop();
            this.#edited = picture;
            this.#say("", warnings);
            return this.#show(picture);
        }

        #show(picture) {
            const [image, seen] = [this.#image, new AbortController()];
            const once = (kind, act) =>
                image.addEventListener(kind, () => (seen.abort(), act()), { signal: seen.signal });
            once("load", () => {});
            once("error", () => this.#refused());
            this.#original.put(picture);
            this.#of(".undo").textContent = "Undo";
            Object.assign(this.#of(".save"), {
                href: picture,
                download: `edited.${picture.match(/^data:image\/(\w+)/)[1]}`,
            });
            this.#of(".done").hidden = false;
            this.#of(".undo").focus();
        }

        #toggle() {
            if (this.#of(".undo").textContent === "Redo") return this.#show(this.#edited);
            this.#original.restore();
            return (this.#of(".undo").textContent = "Redo");
        }

        /** The page's own rules may forbid pictures that it doesn't know. */
        #refused() {
            this.#original.restore();
            this.#of(".undo").hidden = true;
            this.#say("This page forbids changed pictures. Save keeps the edit.");
        }

        #fail(text) {
            this.#stop();
            this.#say(text);
        }

        #stop() {
            const port = this.#port;
            this.#port = null;
            port?.disconnect();
            this.#busy(false);
        }

        #say(trouble, notes = []) {
            const [alert, lines] = [this.#of("[role=alert]"), this.#of(".notes")];
            [alert.textContent, alert.hidden] = [trouble, !trouble];
            [lines.textContent, lines.hidden] = [notes.join(" "), !notes.length];
        }

        #busy(yes) {
            [this.#of("progress").hidden, this.#of(".go").hidden, this.#of(".stop").hidden] = [!yes, yes, !yes];
            this.#of("progress").value = 0;
        }
    }

    /** What an image showed before, with the other sizes and types that the page offers for it. */
    class Original {
        #image;
        #offers;

        constructor(image) {
            this.#image = image;
            this.address = image.currentSrc || image.src;
            const sources = image.parentElement?.matches("picture")
                ? image.parentElement.querySelectorAll("source")
                : [];
            this.#offers = [image, ...sources].map((node) => [node, node.getAttribute("srcset")]);
            this.src = image.getAttribute("src");
        }

        put(picture) {
            for (const [node] of this.#offers) node.removeAttribute("srcset");
            this.#image.src = picture;
        }

        restore() {
            for (const [node, srcset] of this.#offers) if (srcset !== null) node.setAttribute("srcset", srcset);
            this.#image.setAttribute("src", this.src ?? "");
        }
    }

    /** The picture as a data URL where the page may read it itself, else null: then the extension fetches it. */
    async function ownPicture(address) {
        try {
            const answer = await fetch(address);
            if (!answer.ok) return null;
            const blob = await answer.blob();
            return await new Promise((resolve, reject) => {
                const reader = new FileReader();
                reader.onload = () => resolve(reader.result);
                reader.onerror = () => reject(reader.error);
                reader.readAsDataURL(blob);
            });
        } catch {
            return null; // of another site, without CORS
        }
    }
})();
