"use strict";

const feed = new WebSocket(new URL("events", location.href.replace(/^http/, "ws")));
feed.onmessage = (message) => {
  document.getElementById("status").textContent = JSON.stringify(JSON.parse(message.data), null, 2);
};
