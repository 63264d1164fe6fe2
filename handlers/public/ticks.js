// Shows the events of /ticks as they come.
const output = document.getElementById("ticks");
const source = new EventSource("/ticks?count=20&every_ms=1000");
source.addEventListener("tick", (event) => {
  const { tick, of } = JSON.parse(event.data);
  output.textContent = `${tick} of ${of}`;
});
source.addEventListener("done", () => {
  output.textContent += ", done";
  source.close();
});
