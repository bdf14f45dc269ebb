// The finding: which of the views, one per control, is shown.
(() => {
  const views = [...document.querySelectorAll(".view[data-control]")];
  page.control = () => {
    const wanted = page.get("control");
    return views.some((view) => view.dataset.control === wanted) ? wanted : views[0]?.dataset.control ?? page.data.control;
  };
  function show() {
    const control = page.control();
    for (const view of views) view.hidden = view.dataset.control !== control;
    for (const row of document.querySelectorAll("#ranking tbody tr, #by-dataset tbody tr"))
      row.classList.toggle("control", row.dataset.method === control);
    page.settle();
  }
  page.listen("control", show);
  show();
})();
