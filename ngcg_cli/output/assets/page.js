// The page of hits: cards and a map that know of each other. No text from the data ever becomes
// markup: it goes through textContent alone. `live` pages ask their server, others ask nobody.
"use strict";

(() => {
  const data = JSON.parse(document.getElementById("data").textContent);
  const live = data.live === true;
  const byId = (id) => document.getElementById(id);
  const EDGE = 20037508.342789244;
  const MARGIN = 0.35;
  // Online base maps: asked for by the reader alone.
  const BASES = {
    osm: ["https://tile.openstreetmap.org/{z}/{x}/{y}.png", 19,
      '&copy; <a href="https://www.openstreetmap.org/copyright">OpenStreetMap</a> contributors'],
    s2: ["https://tiles.maps.eox.at/wmts/1.0.0/s2cloudless_3857/default/g/{z}/{y}/{x}.jpg", 15,
      '<a href="https://s2maps.eu">Sentinel-2 cloudless</a> by EOX (Copernicus data 2016)'],
  };
  const still = matchMedia("(prefers-reduced-motion: reduce)").matches;
  const map = L.map("map", {
    zoomSnap: live ? 1 : 0.25, minZoom: 1, maxZoom: 22, worldCopyJump: false,
    zoomAnimation: !still, fadeAnimation: !still, markerZoomAnimation: !still,
  });
  map.attributionControl.setPrefix("Leaflet");
  L.control.scale({ imperial: false }).addTo(map);
  map.createPane("imagery").style.zIndex = 250;
  map.createPane("heat").style.zIndex = 300;
  map.setView([0, 0], 2);
  const shown = { question: 0, chosen: -1, hits: [], layers: [] };
  const found = L.featureGroup().addTo(map);
  const imagery = L.layerGroup().addTo(map);

  // --- small things ---------------------------------------------------------------------------

  function make(tag, attributes, ...children) {
    const element = document.createElement(tag);
    for (const [name, value] of Object.entries(attributes || {})) {
      if (name === "text") element.textContent = value;
      else if (name === "onclick") element.addEventListener("click", value);
      else element.setAttribute(name, value);
    }
    element.append(...children);
    return element;
  }

  function draw(tag, attributes, ...children) {
    const element = document.createElementNS("http://www.w3.org/2000/svg", tag);
    for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
    element.append(...children);
    return element;
  }

  const project = (lon, lat) => {
    const sine = Math.sin(Math.max(-85.0511287798, Math.min(85.0511287798, lat)) * Math.PI / 180);
    return [lon / 180 * EDGE, Math.atanh(sine) / Math.PI * EDGE];
  };
  const unproject = (x, y) => [
    Math.atan(Math.sinh(y / EDGE * Math.PI)) * 180 / Math.PI, x / EDGE * 180,
  ];
  // West, south, east, north with west <= east: past 180 across the antimeridian.
  const unwrapped = ([w, s, e, n]) => [w, s, e < w ? e + 360 : e, n];

  // The square of the map around a tile that its picture shows, metres.
  function around(bbox) {
    const [w, s, e, n] = unwrapped(bbox);
    const [left, bottom] = project(w, s), [right, top] = project(e, n);
    const half = Math.max(right - left, top - bottom, 1e-3) * (0.5 + MARGIN);
    const x = (left + right) / 2, y = (bottom + top) / 2;
    return [x - half, y - half, x + half, y + half];
  }

  // The rings of a footprint, in one piece across the antimeridian.
  function rings(feature) {
    const shape = feature.geometry;
    const crosses = feature.properties.bbox[0] > feature.properties.bbox[2];
    const all = shape.type === "Polygon" ? [shape.coordinates] : shape.coordinates;
    return all.map((polygon) => polygon[0].map(
      ([lon, lat]) => [crosses && lon < 0 ? lon + 360 : lon, lat]));
  }

  const latLngs = (bounds) => [
    unproject(bounds[0], bounds[1]), unproject(bounds[2], bounds[3]),
  ];

  // --- cards ----------------------------------------------------------------------------------

  function picture(feature, source) {
    const frame = make("div", { class: "picture" });
    if (!source) {
      frame.textContent = "no picture";
      return frame;
    }
    const image = make("img", { src: source.url, alt: "", loading: "lazy" });
    image.addEventListener("error", () => frame.replaceChildren("no picture"));
    const [left, bottom, right, top] = source.bounds;
    const outline = rings(feature).map((ring) => draw("polygon", {
      points: ring.map(([lon, lat]) => {
        const [x, y] = project(lon, lat);
        return `${(x - left) / (right - left) * 100},${(top - y) / (top - bottom) * 100}`;
      }).join(" "),
    }));
    frame.append(image, draw("svg", { viewBox: "0 0 100 100" }, ...outline));
    return frame;
  }

  function bar(share, sure) {
    const rect = draw("rect", { height: "100%", width: `${Math.max(0, Math.min(1, share)) * 100}%` });
    return make("div", { class: sure ? "bar sure" : "bar" }, draw("svg", {}, rect));
  }

  function card(feature, number, source) {
    const hit = feature.properties;
    const place = `${hit.lat.toFixed(6)}, ${hit.lon.toFixed(6)}`;
    const side = typeof hit.tile_m === "number" ? `, ${Math.round(hit.tile_m)} m` : "";
    const facts = make("div", { class: "facts" },
      make("p", { class: "rank" }, make("b", { text: `${hit.rank}` }),
        `score ${hit.score.toFixed(3)}${side}`));
    if (typeof hit.confidence === "number") {
      facts.append(make("p", { text: `confidence ${Math.round(hit.confidence * 100)} %` }),
        bar(hit.confidence, true));
    } else facts.append(bar(hit.score, false));
    facts.append(make("p", {}, make("code", { text: place })),
      make("p", { class: "source", text: shortName(hit.source), title: hit.source }));
    if (typeof hit.explanation === "string") facts.append(make("p", { text: hit.explanation }));
    const go = make("button", {
      class: "go", type: "button", "aria-label": `Hit ${hit.rank}: show on the map`,
      onclick: () => choose(number, "map"),
    }, picture(feature, source), facts);
    const copy = make("button", { type: "button", text: "Copy coordinates" });
    copy.addEventListener("click", () => copied(copy, place));
    const { lat, lon } = hit;
    const links = [
      ["OpenStreetMap", `https://www.openstreetmap.org/?mlat=${lat}&mlon=${lon}#map=17/${lat}/${lon}`],
      ["Google Maps", `https://www.google.com/maps/search/?api=1&query=${lat},${lon}`],
    ].map(([text, href]) => make("a", { text, href, target: "_blank", rel: "noopener noreferrer" }));
    const actions = make("div", { class: "actions" }, copy, ...links);
    if (live && data.steer) {
      for (const [kind, text] of [["like", "More like this"], ["unlike", "Less like this"]]) {
        actions.append(make("button", { type: "button", text, class: kind,
          onclick: () => steer(kind, hit) }));
      }
    }
    return make("li", { class: "card", id: `hit-${number}` }, go, actions);
  }

  async function copied(button, text) {
    try {
      await navigator.clipboard.writeText(text);
    } catch {
      // From disk a browser may have no clipboard for pages: the old way.
      const field = make("textarea", {});
      field.value = text;
      document.body.append(field);
      field.select();
      document.execCommand("copy");
      field.remove();
    }
    button.textContent = "Copied";
    setTimeout(() => { button.textContent = "Copy coordinates"; }, 1500);
  }

  function shortName(source) {
    const name = source.replace(/\/+$/, "").split("/").pop() || source;
    return name.length <= 60 ? name : `${name.slice(0, 28)}…${name.slice(-30)}`;
  }

  // --- the map --------------------------------------------------------------------------------

  function pin(hit, chosen) {
    return L.divIcon({
      className: chosen ? "pin chosen" : "pin", iconSize: [26, 26], html: String(Number(hit.rank)),
    });
  }

  function place(feature, number) {
    const hit = feature.properties;
    const [w, s, e, n] = unwrapped(hit.bbox);
    const shape = L.polygon(rings(feature).map((ring) => ring.map(([lon, lat]) => [lat, lon])),
      { className: "footprint", weight: 2, fillOpacity: 0.06 });
    const at = hit.point ? [hit.point[1], hit.point[0]] : [(s + n) / 2, (w + e) / 2];
    const marker = L.marker(at, { icon: pin(hit, false), alt: `Hit ${Number(hit.rank)}`,
      riseOnHover: true, zIndexOffset: -number });
    for (const layer of [shape, marker]) layer.on("click", () => choose(number, "card"));
    marker.on("keypress", (event) => {
      if (event.originalEvent.key === "Enter") choose(number, "card");
    });
    found.addLayer(shape).addLayer(marker);
    return { shape, marker, bounds: L.latLngBounds([s, w], [n, e]) };
  }

  function choose(number, where) {
    const before = shown.layers[shown.chosen];
    if (before) {
      before.marker.setIcon(pin(shown.hits[shown.chosen].properties, false));
      before.shape.setStyle({ weight: 2 });
      byId(`hit-${shown.chosen}`)?.classList.remove("chosen");
    }
    shown.chosen = number;
    const layer = shown.layers[number], item = byId(`hit-${number}`);
    layer.marker.setIcon(pin(shown.hits[number].properties, true));
    layer.shape.setStyle({ weight: 4 });
    layer.shape.bringToFront();
    item.classList.add("chosen");
    if (where === "map") map.flyToBounds(layer.bounds.pad(0.6), { animate: !still, duration: 0.6 });
    else {
      item.scrollIntoView({ block: "center" });
      item.querySelector(".go").focus({ preventScroll: true });
    }
  }

  // As the command says it: not even the best hit is likely right.
  function doubt(features) {
    const chances = features.map(({ properties }) => properties.confidence);
    if (!chances.length || !chances.every((chance) => typeof chance === "number")) return "";
    const best = Math.max(...chances);
    if (best >= data.nothing_here) return "";
    const told = best < 0.01 ? "less than 1" : String(Math.round(best * 100));
    return `Nothing here looks like that: the best of these hits has a confidence of ${told} %.`;
  }

  function show(features, sources, note) {
    found.clearLayers();
    shown.hits = features;
    shown.chosen = -1;
    shown.layers = features.map(place);
    byId("cards").replaceChildren(...features.map((f, number) => card(f, number, sources(f))));
    byId("note").textContent = note;
    byId("doubt").textContent = doubt(features);
    byId("save").disabled = !features.length;
  }

  const fit = () => {
    if (shown.layers.length) map.fitBounds(found.getBounds().pad(live ? 0.02 : 0.15), { animate: false });
  };

  function overlay(url, bounds, layer, options) {
    return L.imageOverlay(url, latLngs(bounds), { interactive: false, ...options }).addTo(layer);
  }

  byId("side").addEventListener("keydown", (event) => {
    const step = { ArrowDown: 1, ArrowUp: -1, j: 1, k: -1 }[event.key];
    if (!step || !shown.hits.length || event.target.tagName === "INPUT") return;
    event.preventDefault();
    const last = shown.hits.length - 1;
    const number = Math.max(0, Math.min(last, shown.chosen + step));
    choose(number, "map");
    const item = byId(`hit-${number}`);
    item.scrollIntoView({ block: "nearest" });
    item.querySelector(".go").focus({ preventScroll: true });
  });

  byId("save").addEventListener("click", () => {
    const collection = { type: "FeatureCollection", features: shown.hits };
    const file = new Blob([JSON.stringify(collection, null, 1)], { type: "application/geo+json" });
    const link = make("a", { href: URL.createObjectURL(file), download: "hits.geojson" });
    link.click();
    setTimeout(() => URL.revokeObjectURL(link.href), 1000);
  });

  let base = null;
  byId("base").addEventListener("change", (event) => {
    if (base) base.remove();
    const chosen = BASES[event.target.value];
    base = chosen && L.tileLayer(chosen[0],
      { maxNativeZoom: chosen[1], maxZoom: 22, attribution: chosen[2] }).addTo(map);
  });

  // --- a page on disk -------------------------------------------------------------------------

  function question(number) {
    shown.question = number;
    const { hits, pictures } = data.questions[number];
    const source = (feature) => pictures[hits.indexOf(feature)];
    imagery.clearLayers();
    for (const [url, bounds] of data.overviews) overlay(url, bounds, imagery, { pane: "imagery" });
    for (const [at, one] of pictures.entries()) {
      if (one) overlay(one.url, one.bounds, imagery, { pane: "imagery", zIndex: hits.length - at });
    }
    show(hits, source, hits.length ? data.note : "Nothing was found for this question.");
    for (const [at, tab] of [...byId("questions").querySelectorAll("button")].entries()) {
      tab.setAttribute("aria-selected", String(at === number));
      tab.tabIndex = at === number ? 0 : -1;
    }
    fit();
  }

  function startFromDisk() {
    const tabs = byId("questions");
    if (data.questions.length === 1) {
      tabs.append(make("h2", { text: data.questions[0].query }));
      tabs.removeAttribute("role");
    } else {
      data.questions.forEach(({ query }, at) => tabs.append(make("button", {
        type: "button", role: "tab", text: query, title: query, onclick: () => question(at),
      })));
      tabs.addEventListener("keydown", (event) => {
        const step = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
        if (!step) return;
        const count = data.questions.length;
        question((shown.question + step + count) % count);
        tabs.querySelectorAll("button")[shown.question].focus();
      });
    }
    if (data.questions.length) question(0);
  }

  // --- a live page: live.js ---------------------------------------------------------------------

  let steer = () => {};
  if (live) {
    steer = window.ngcgLive({ data, map, imagery, show, fit, choose, make, overlay, around, project,
      unproject, latLngs, byId, shown });
  } else startFromDisk();
})();
