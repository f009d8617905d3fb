// Words are written anew at every change: what a reader has opened in them, by its key, is open again.
if (!customElements.get('stays-open')) {
  customElements.define('stays-open', class extends HTMLElement {
    connectedCallback () {
      const details = this.firstElementChild
      const key = this.getAttribute('key')
      const card = this.closest('[data-demo]') ?? this.getRootNode()
      const opened = card.opened ??= new Set()
      if (details.open) opened.add(key) // before this script was there
      details.open = opened.has(key)
      // At once: the event that says so comes after the next words, if they are quick.
      details.firstElementChild.addEventListener('click', () => opened[details.open ? 'delete' : 'add'](key))
    }
  })
}
