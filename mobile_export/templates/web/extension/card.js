/** How the dialog at a picture looks: style and elements of its shadow tree, for content.js. */

(() => {
    const STYLE = `
        :host { all: initial; position: absolute; z-index: 2147483647; color-scheme: light dark; }
        * { box-sizing: border-box; }
        [hidden] { display: none !important; }
        .card {
            width: 340px; max-width: calc(100vw - 24px); display: grid; gap: 10px; padding: 14px; border-radius: 14px;
            background: light-dark(#ffffff, #211f1b); color: light-dark(#211e17, #f3f0e8);
            border: 1px solid light-dark(#ddd7ca, #38352e); box-shadow: 0 10px 40px rgb(0 0 0 / 28%);
            font: 400 15px/1.4 system-ui, "Segoe UI", Roboto, "Liberation Sans", sans-serif;
        }
        .row { display: flex; gap: 8px; align-items: center; flex-wrap: wrap; }
        .head { justify-content: space-between; font-weight: 600; }
        .place { color: light-dark(#655f52, #b0a999); font-weight: 400; font-size: 13px; }
        input {
            flex: 1; min-width: 0; font: inherit; color: inherit; padding: 9px 12px; border-radius: 10px;
            background: transparent;
            border: 1px solid light-dark(#8f8775, #7d7767);
        }
        button, a {
            font: inherit; color: inherit; padding: 8px 12px; border-radius: 10px; cursor: pointer;
            background: transparent;
            border: 1px solid light-dark(#ddd7ca, #38352e); text-decoration: none;
        }
        .main { background: #ffd447; border-color: #ffd447; color: #211e17; font-weight: 600; }
        .close { border: 0; padding: 2px 8px; }
        .ideas button { font-size: 13px; padding: 3px 10px; border-radius: 999px; color: light-dark(#655f52, #b0a999); }
        progress { width: 100%; accent-color: #ffd447; }
        p { margin: 0; font-size: 13px; color: light-dark(#655f52, #b0a999); overflow-wrap: anywhere; }
        p[role="alert"] { color: light-dark(#a3231f, #ffb4ab); }
        :focus-visible { outline: 2px solid light-dark(#211e17, #ffd447); outline-offset: 2px; }
    `;
    const CARD = `
        <form class="card" role="dialog" aria-label="Edit this picture with nanoedge">
            <div class="row head"><span>Edit picture <span class="place"></span></span>
                <button type="button" class="close" aria-label="Close">✕</button></div>
            <div class="row">
                <input aria-label="What should change?" placeholder="What should change?" autocomplete="off">
                <button class="main go">Edit</button><button type="button" class="stop" hidden>Stop</button></div>
            <div class="row ideas"></div>
            <progress max="1" hidden></progress>
            <p role="alert" hidden></p>
            <p class="notes" hidden></p>
            <div class="row done" hidden>
                <button type="button" class="undo">Undo</button><a class="save" download="edited.png">Save</a></div>
        </form>`;
    globalThis.nanoedgeCard = `<style>${STYLE}</style>${CARD}`;
})();
