// What a live page has more than one on disk: a question to type, imagery in tiles, a heat map.
"use strict";

window.ngcgLive = (kit) => {
  const { data, map, imagery, show, fit, make, around, latLngs, project, byId, shown } = kit;
  const state = { info: null, numbers: new Map(), tiles: null, hot: null, asked: null, turn: 0 };
  const steering = [];

  async function get(address) {
    const response = await fetch(address);
    const answer = await response.json();
    if (!response.ok) throw new Error(answer.error || `status ${response.status}`);
    return answer;
  }

  async function learn() {
    const info = await get("api/info");
    const first = state.info === null;
    if (!first && info.revision === state.info.revision) return;
    state.info = info;
    state.numbers = new Map(info.sources.map(({ path, number }) => [path, number]));
    imagery.clearLayers();
    state.tiles = L.tileLayer(`api/tiles/{z}/{x}/{y}.webp?revision=${Number(info.revision)}`,
      { pane: "imagery", maxNativeZoom: 22, maxZoom: 22 }).addTo(imagery);
    for (const { bbox } of info.sources) {
      if (!bbox) continue;
      const [w, s, e, n] = bbox;
      L.rectangle([[s, w], [n, e < w ? e + 360 : e]],
        { className: "extent", weight: 1, fill: false, interactive: false }).addTo(imagery);
    }
    if (first && info.bbox) {
      const [w, s, e, n] = info.bbox;
      map.fitBounds([[s, w], [n, e < w ? e + 360 : e]], { animate: false });
    }
  }

  function wrapped(lon) {
    return ((lon + 180) % 360 + 360) % 360 - 180;
  }

  function question() {
    const asked = new URLSearchParams();
    for (const name of ["q", "add", "subtract"]) {
      const text = byId(name).value.trim();
      if (text) asked.append(name, text);
    }
    if (byId("inview").checked) {
      const view = map.getBounds();
      const all = view.getEast() - view.getWest() >= 360;
      asked.set("bbox", [
        all ? -180 : wrapped(view.getWest()), Math.max(-90, view.getSouth()),
        all ? 180 : wrapped(view.getEast()), Math.min(90, view.getNorth()),
      ].map((edge) => edge.toFixed(7)).join(","));
    }
    for (const { kind, place } of steering) asked.append(kind, place);
    return asked;
  }

  async function ask() {
    const asked = question();
    if (![...asked.keys()].some((name) => name !== "bbox")) return;
    const text = asked.get("q") || "";
    const turn = ++state.turn;
    byId("cards").setAttribute("aria-busy", "true");
    byId("note").textContent = "Looking…";
    try {
      const answer = await get(`api/query?${asked}`);
      if (turn !== state.turn) return;  // a later question was asked
      await learn();
      const pictures = (feature) => {
        const number = state.numbers.get(feature.properties.source);
        if (number === undefined) return null;
        const bounds = around(feature.properties.bbox);
        return { url: `api/pictures/${number}/${bounds.join(",")}.webp`, bounds };
      };
      const count = answer.features.length;
      const nothing = asked.has("bbox")
        ? "No tile has its centre in view: zoom out, or search everywhere."
        : "The index has no tiles.";
      show(answer.features, pictures, count ? `${count} hits among ` +
        `${state.info.tiles.toLocaleString("en")} tiles` : nothing);
      state.asked = asked;
      history.replaceState(null, "", text ? `?${new URLSearchParams({ q: text })}` : ".");
      document.title = `${text || "ngcg"} - ngcg`;
      if (!asked.has("bbox")) fit();
      heat();
    } catch (error) {
      if (turn === state.turn) show([], () => null, `That did not work: ${error.message}`);
    } finally {
      byId("cards").removeAttribute("aria-busy");
    }
  }

  function heat() {
    const before = state.hot;
    state.hot = null;
    if (byId("hot").checked && state.asked) {
      const view = map.getBounds().pad(0.1);
      const [left, bottom] = project(view.getWest(), Math.max(-85, view.getSouth()));
      const [right, top] = project(view.getEast(), Math.min(85, view.getNorth()));
      const bounds = [left, bottom, right, top];
      const asked = new URLSearchParams(state.asked);
      asked.delete("bbox");
      asked.set("bounds", bounds.join(","));
      state.hot = L.imageOverlay(`api/heat?${asked}`, latLngs(bounds),
        { pane: "heat", className: "heat", interactive: false }).addTo(map);
      if (before) state.hot.once("load error", () => before.remove());
    } else if (before) before.remove();
  }

  function chips() {
    byId("steer").replaceChildren(...steering.map((one, at) => make("button", {
      type: "button", title: "Leave this away",
      text: `${one.kind === "like" ? "more" : "less"} like ${one.place}  ×`,
      onclick: () => { steering.splice(at, 1); chips(); ask(); },
    })));
  }

  byId("ask").addEventListener("submit", (event) => { event.preventDefault(); ask(); });
  byId("inview").addEventListener("change", () => { if (state.asked) ask(); });
  byId("hot").addEventListener("change", heat);
  map.on("moveend", () => { if (state.hot) heat(); });
  show([], () => null, "Type what you are looking for.");
  learn().then(() => {
    const text = new URLSearchParams(location.search).get("q");
    if (text) { byId("q").value = text; ask(); }
  }).catch((error) => { byId("note").textContent = `The server does not answer: ${error.message}`; });

  return (kind, hit) => {
    const place = `${hit.lat},${hit.lon}`;
    // The last word on a place counts: more of it and less of it would cancel each other.
    const said = steering.findIndex((one) => one.place === place);
    if (said >= 0) steering.splice(said, 1);
    steering.push({ kind, place });
    chips();
    ask();
  };
};
