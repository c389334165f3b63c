'use strict';
// Without this script the page says the same: bars are links, and hangs are opened by themselves.
(() => {
  const hangs = [...document.querySelectorAll('details.hang')];
  const show = (id) => {
    const body = document.getElementById(id);
    const hang = body && body.closest('details.hang');
    if (!hang) return;
    hang.hidden = false;
    hang.open = true;
    hang.scrollIntoView({ block: 'start' });
    hang.querySelector('summary').focus({ preventScroll: true });
    for (const old of document.querySelectorAll('.shown')) old.classList.remove('shown');
    hang.classList.add('shown');
    for (const bar of document.querySelectorAll(`svg a[href="#${id}"] .bar`)) bar.classList.add('shown');
  };
  document.addEventListener('click', (event) => {
    const link = event.target.closest('a[href^="#h"]');
    if (!link) return;
    event.preventDefault();
    show(link.getAttribute('href').slice(1));
  });
  if (/^#h\d+$/.test(location.hash)) show(location.hash.slice(1));

  const tools = document.querySelector('.tools');
  if (tools) {
    tools.hidden = false;
    const all = document.getElementById('all');
    all.addEventListener('click', () => {
      const open = all.textContent === 'Open all';
      for (const hang of hangs) hang.open = open;
      all.textContent = open ? 'Close all' : 'Open all';
    });
    const filter = document.getElementById('filter');
    filter.addEventListener('input', () => {
      const words = filter.value.toLowerCase();
      for (const hang of hangs) hang.hidden = !hang.textContent.toLowerCase().includes(words);
    });
  }

  // On paper: the worst in full, unless the reader chose.
  let opened = [];
  addEventListener('beforeprint', () => {
    if (hangs.some((hang) => hang.open)) return;
    opened = hangs.slice(0, 3);
    for (const hang of opened) hang.open = true;
  });
  addEventListener('afterprint', () => {
    for (const hang of opened) hang.open = false;
    opened = [];
  });
})();
