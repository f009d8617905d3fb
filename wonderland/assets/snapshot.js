// Replays what Python recorded: looks a state up, and puts its columns into the figures and its words beside them.
(() => {
  'use strict'
  const root = document.documentElement
  const NUMBERS = {
    u1: Uint8Array, i1: Int8Array, u2: Uint16Array, i2: Int16Array, u4: Uint32Array, i4: Int32Array,
    f4: Float32Array, f8: Float64Array
  }
  // A figure asks the page's styles how each of its lines and words is to look, at every painting; ours do not say
  // (bokeh 3.9.2, 2026-11-25).
  Bokeh.require('core/visuals/visual').VisualProperties.prototype._get_css_value = () => ''

  const light = () => root.dataset.theme === 'light'
  const idle = () => new Promise((done) => {
    if (window.requestIdleCallback) window.requestIdleCallback(done, { timeout: 150 })
    else setTimeout(done, 10)
  })

  // The record

  const unpack = async (text) => {
    const packed = Uint8Array.from(atob(text), (c) => c.charCodeAt(0))
    const stream = new Blob([packed]).stream().pipeThrough(new DecompressionStream('gzip'))
    const buffer = await new Response(stream).arrayBuffer()
    const length = new DataView(buffer).getUint32(0, true)
    const record = JSON.parse(new TextDecoder().decode(new Uint8Array(buffer, 4, length)))
    record.array = (ref) => ref && new NUMBERS[ref[0]](buffer, 4 + length + ref[1], ref[2])
    return record
  }

  const ends = (lengths) => {
    const sums = new Uint32Array(lengths.length + 1)
    lengths.forEach((length, n) => { sums[n + 1] = sums[n] + length })
    return sums
  }

  // A column of a mark, or a block of words: its distinct values, and which of them each record shows.
  class Piece {
    constructor (record, piece) {
      [this.what, this.name, this.column] = piece.key
      this.kind = piece.kind
      this.words = record.words
      this.ids = piece.ids.map(record.array)
      this.flat = record.array(piece.flat)
      this.ends = ends(record.array(piece.lengths))
      this.many = piece.many && ends(record.array(piece.many))
      this.rows = piece.rows && record.array(piece.rows)
    }

    id (walk, record) { return this.ids[walk]?.[record] ?? 0 }

    part (n) { return this.flat.subarray(this.ends[n], this.ends[n + 1]) }

    text (id) { return Array.from(this.part(id), (n) => this.words[n]) }

    value (id) {
      if (this.kind === 'numbers') return Float64Array.from(this.part(id))
      if (this.kind === 'words') {
        const theme = light() ? 1 : 0
        return Array.from(this.part(id), (n) => {
          const word = this.words[n]
          return typeof word === 'string' ? word : word[theme]
        })
      }
      const items = []
      for (let n = this.many[id]; n < this.many[id + 1]; n++) {
        const part = this.part(n)
        if (this.kind === 'rows') items.push(Float64Array.from(part))
        else items.push(matrix(part, this.rows[n]))
      }
      return items
    }
  }

  const matrix = (values, rows) => {
    const { ndarray } = Bokeh.require('core/util/ndarray')
    return ndarray(values.slice(), { shape: [rows, rows ? values.length / rows : 0] })
  }

  // A text with every change that each of several has against one; record.py does the same and checks it.
  const merged = (texts, base) => {
    if (texts.every((text) => text.length === base.length)) {
      return base.map((word, n) => (texts.find((text) => text[n] !== word) ?? base)[n])
    }
    const changes = texts.map((text) => {
      const most = Math.min(text.length, base.length)
      let first = 0
      while (first < most && text[first] === base[first]) first++
      let same = 0
      while (same < most - first && text[text.length - 1 - same] === base[base.length - 1 - same]) same++
      return [first, base.length - same, text.slice(first, text.length - same)]
    })
    const made = [...base]
    for (const [first, last, words] of changes.sort((a, b) => b[0] - a[0] || b[1] - a[1])) {
      made.splice(first, last - first, ...words)
    }
    return made
  }

  // Make of an element what is wanted and leave alone what is so already: less for the browser to lay out anew, a fold
  // stays open, and a table where it was scrolled to.
  const mend = (there, wanted) => {
    if (there.isEqualNode(wanted)) return
    if (there.nodeName !== wanted.nodeName) return there.replaceWith(wanted)
    if (there instanceof CharacterData) {
      there.data = wanted.data
      return
    }
    for (const { name, value } of wanted.attributes) {
      if (there.getAttribute(name) !== value) there.setAttribute(name, value)
    }
    const [old, fresh] = [[...there.childNodes], [...wanted.childNodes]]
    if (old.length === fresh.length) fresh.forEach((node, n) => mend(old[n], node))
    else there.replaceChildren(...fresh)
  }

  // A demo

  class Player {
    constructor (card) {
      this.card = card
      card.replay = this
      this.figures = []
      this.built = false
    }

    get distance () {
      const { top, bottom } = this.card.getBoundingClientRect()
      return Math.max(top - window.innerHeight, -bottom, 0)
    }

    async build () {
      this.built = true
      const script = document.querySelector(`script[data-record="${this.card.dataset.demo}"]`)
      const record = await unpack(script.textContent)
      script.remove()
      this.record = record
      this.at = [...record.starts]
      this.walks = record.walks.map((walk) => ({
        ...walk,
        at: record.array(walk.at),
        idle: Object.entries(walk.idle).map(([axis, ref]) => [Number(axis), record.array(ref)])
      }))
      this.pieces = record.pieces.map((piece) => new Piece(record, piece))
      this.shown = new Map()
      this.marks = new Map()
      this.show()
      this.connect()
      await this.drawAll()
    }

    // The figures of the set of pictures on screen, as far as they are not drawn yet.
    async drawAll () {
      for (const holder of this.card.querySelectorAll('.pictures:not([hidden]) [data-figure]:empty')) {
        await this.draw(this.record.figures[holder.dataset.figure], holder)
        await idle()
      }
    }

    async draw ({ doc, light: differing }, holder) {
      const made = Bokeh.require('document').Document.from_json(doc)
      const figure = { holder, doc: made, differing, plot: made.roots()[0], sources: new Map() }
      for (const model of made._all_models.values()) {
        if (model.type === 'ColumnDataSource' && this.marks.has(model.name)) {
          figure.sources.set(model, model.name)
          model.data = { ...this.marks.get(model.name) }
        }
      }
      figure.frame = figure.plot.tags.find((tag) => String(tag).startsWith('frame: '))?.slice(7)
      this.dress(figure)
      this.reframe(figure)
      const live = document.createElement('div')
      live.className = 'drawn'
      holder.append(live)
      this.figures.push(figure)
      figure.views = await Bokeh.embed.add_document_standalone(made, live)
      mute(live)
    }

    // The controls

    connect () {
      this.card.querySelectorAll('[disabled]').forEach((el) => { el.disabled = false })
      this.card.querySelector('form').addEventListener('submit', (event) => event.preventDefault())
      this.card.querySelector('.reset').addEventListener('click', () => {
        this.at = [...this.record.starts]
        this.show()
      })
      for (const button of this.card.querySelectorAll('[data-press]')) {
        button.addEventListener('click', () => this.press(button.dataset.press))
      }
      for (const field of this.card.querySelectorAll('[data-axis]')) {
        const axis = Number(field.dataset.axis)
        const [input] = field.querySelectorAll('input, select')
        const move = (place) => this.move(axis, place)
        if (input.type === 'range') slide(input, () => this.at[axis], move)
        else if (input.type === 'checkbox') {
          input.addEventListener('change', () => move(JSON.parse(input.dataset.places)[input.checked ? 1 : 0]))
        } else field.addEventListener('change', (event) => move(Number(event.target.value)))
      }
    }

    press (name) {
      const next = [...this.at]
      for (const [axis, to] of Object.entries(this.record.presses[name])) next[axis] = to[this.at[axis]]
      this.at = next
      this.show()
    }

    move (axis, place) {
      this.at[axis] = place
      const chosen = !this.slides(axis)
      if (chosen && this.lacks(this.at)) this.at = this.near() ?? this.at
      this.show()
    }

    slides (axis) { return this.card.querySelector(`[data-axis="${axis}"] input[type=range]`) !== null }

    // Where a choice leaves a slider without a state, that goes to its nearest that has one.
    near () {
      for (const [axis, count] of this.record.places.entries()) {
        if (!this.slides(axis)) continue
        const places = [...Array(count).keys()].sort((a, b) => Math.abs(a - this.at[axis]) - Math.abs(b - this.at[axis]))
        for (const place of places) {
          const at = this.at.with(axis, place)
          if (!this.lacks(at)) return at
        }
      }
      return null
    }

    index (walk, at) { return walk.axes.reduce((sum, axis) => sum * this.record.places[axis] + at[axis], 0) }

    lacks (at) { return this.walks.some((walk) => walk.at[this.index(walk, at)] < 0) }

    // The state

    show () {
      const here = this.walks.map((walk) => this.index(walk, this.at))
      const records = this.walks.map((walk, n) => walk.at[here[n]])
      const bases = this.walks.map((walk) => {
        const at = this.at.map((place, axis) => walk.own.includes(axis) ? this.record.starts[axis] : place)
        return walk.at[this.index(walk, at)]
      })
      const trouble = Math.min(...records)
      const problem = this.card.querySelector('.problem')
      problem.hidden = trouble >= 0
      problem.textContent = trouble < 0 ? this.record.problems[-1 - trouble] : ''
      if (trouble >= 0) this.fill(records, bases) // else the last good picture stands
      this.update(here)
    }

    fill (records, bases) {
      const stale = new Set()
      let set = 0
      for (const piece of this.pieces) {
        const base = piece.id(0, bases[0])
        const moved = [...new Set(records.map((record, n) => [piece.id(n, record), piece.id(n, bases[n])])
          .filter(([id, was]) => id !== was && id >= 0).map(([id]) => id))]
        const id = moved[0] ?? base
        if (piece.what === 'pictures') {
          set = piece.value(id)[0]
          continue
        }
        if (id < 0) continue // no picture on screen has this mark
        if (piece.kind === 'text') {
          const key = moved.length > 1 ? moved.join() : id
          if (this.shown.get(piece) === key) continue
          const words = moved.length > 1 ? merged(moved.map((n) => piece.text(n)), piece.text(base)) : piece.text(id)
          const block = this.card.querySelector(`[data-${piece.what === 'pane' ? 'pane' : 'block'}="${piece.name}"]`)
          const wanted = block.cloneNode(false)
          wanted.innerHTML = words.join('')
          relink(wanted)
          mend(block, wanted)
          this.shown.set(piece, key)
          continue
        }
        if (this.shown.get(piece) === id) continue
        this.shown.set(piece, id)
        if (!stale.has(piece.name)) this.marks.set(piece.name, { ...this.marks.get(piece.name) })
        this.marks.get(piece.name)[piece.column] = piece.value(id)
        stale.add(piece.name)
      }
      for (const figure of this.figures) this.feed(figure, stale)
      this.choose(set)
    }

    feed (figure, stale) {
      for (const [source, mark] of figure.sources) if (stale.has(mark)) source.data = { ...this.marks.get(mark) }
      if (stale.has(figure.frame)) this.reframe(figure)
    }

    choose (set) {
      if (this.set === set) return
      const first = this.set === undefined
      this.set = set
      this.card.querySelectorAll('[data-set]').forEach((el) => { el.hidden = Number(el.dataset.set) !== set })
      if (!first) this.drawAll()
    }

    // As canvas.py does it.
    reframe ({ frame, plot }) {
      if (!frame) return
      const { x, y, ticks } = this.marks.get(frame)
      plot.x_range.setv({ start: x[0], end: x[1] })
      plot.y_range.setv({ start: y[0], end: y[1] })
      if (ticks) plot.below.find((axis) => axis.ticker).ticker.ticks = Array.from(ticks)
    }

    update (here) {
      const without = new Set()
      this.walks.forEach((walk, n) => walk.idle.forEach(([axis, mask]) => { if (mask[here[n]]) without.add(axis) }))
      for (const field of this.card.querySelectorAll('[data-axis]')) {
        const axis = Number(field.dataset.axis)
        const place = this.at[axis]
        const [input] = field.querySelectorAll('input, select')
        field.hidden = without.has(axis)
        if (input.type === 'range') {
          const text = JSON.parse(input.dataset.texts)[place]
          input.value = JSON.parse(input.dataset.places)[place]
          input.setAttribute('aria-valuetext', text)
          field.querySelector('output').textContent = text
        } else if (input.type === 'checkbox') {
          input.checked = JSON.parse(input.dataset.places)[1] === place
        } else if (input.type === 'radio') {
          field.querySelector(`input[value="${place}"]`).checked = true
        } else input.value = place
      }
      for (const button of this.card.querySelectorAll('[data-press]')) {
        const moves = Object.entries(this.record.presses[button.dataset.press])
        button.disabled = moves.every(([axis, to]) => to[this.at[axis]] === this.at[axis])
        button.hidden = moves.every(([axis]) => without.has(Number(axis)))
      }
    }

    // The theme

    dress ({ doc, differing }, other = light()) {
      for (const [id, name, one, two] of differing) doc.get_model_by_id(id).setv({ [name]: other ? two : one })
    }

    retheme () {
      if (!this.record) return
      const stale = new Set()
      for (const piece of this.pieces) {
        if (piece.kind !== 'words' || !this.shown.has(piece)) continue
        this.marks.set(piece.name, { ...this.marks.get(piece.name), [piece.column]: piece.value(this.shown.get(piece)) })
        stale.add(piece.name)
      }
      for (const figure of this.figures) {
        this.dress(figure)
        this.feed(figure, stale)
      }
    }

    // On paper a figure is an image: a browser does not lay a canvas out again for it.
    print () {
      for (const { holder, plot, views } of this.figures) {
        if (!views || holder.closest('[hidden]')) continue
        const view = views.get(plot)
        view.repaint()
        const image = document.createElement('img')
        image.className = 'printed'
        image.alt = ''
        image.src = view.export('png', true).canvas.toDataURL()
        holder.append(image)
      }
    }
  }

  // A slider stops at recorded values alone: wherever it is put, it goes to the nearest.
  const slide = (input, now, move) => {
    const places = JSON.parse(input.dataset.places)
    const last = places.length - 1
    const nearest = (value) => places.reduce((best, at, n) => Math.abs(at - value) < Math.abs(places[best] - value) ? n : best, 0)
    input.addEventListener('input', () => move(nearest(Number(input.value))))
    input.addEventListener('change', () => { input.value = places[now()] })
    const leap = Math.max(1, Math.round(last / 10))
    const steps = { ArrowRight: 1, ArrowUp: 1, ArrowLeft: -1, ArrowDown: -1, PageUp: leap, PageDown: -leap, Home: -last, End: last }
    input.addEventListener('keydown', (event) => {
      if (!(event.key in steps)) return
      event.preventDefault()
      move(Math.min(last, Math.max(0, now() + steps[event.key])))
    })
  }

  // An address of the live page leads to the chapter in this file, if it is there.
  const relink = (el) => {
    for (const link of el.querySelectorAll('a[href^="?chapter="]')) {
      const id = `chapter-${parseInt(link.getAttribute('href').slice(9), 10)}`
      if (document.getElementById(id)) link.setAttribute('href', `#${id}`)
      else link.removeAttribute('href')
    }
  }

  // A figure takes the focus and does nothing with it: the sliders do all that there is to do.
  const mute = (el) => {
    for (const inner of el.querySelectorAll('*')) {
      if (inner.matches('.bk-events')) inner.tabIndex = -1
      if (inner.shadowRoot) mute(inner.shadowRoot)
    }
  }

  // The page

  const players = [...document.querySelectorAll('[data-demo]')].map((card) => new Player(card))

  const theme = (name, keep) => {
    root.dataset.theme = name
    for (const button of document.querySelectorAll('button.theme')) {
      button.hidden = false
      button.textContent = name === 'light' ? 'Dark' : 'Light'
      button.setAttribute('aria-label', `Switch to the ${name === 'light' ? 'dark' : 'light'} theme`)
    }
    if (keep) try { localStorage.setItem('wonderland-theme', name) } catch { /* a frame may not */ }
    for (const player of players) player.retheme()
  }

  const contents = () => {
    const toc = document.querySelector('details.toc')
    if (!toc) return
    const narrow = window.matchMedia('(max-width: 999.9px)')
    const fit = () => { toc.open = !narrow.matches }
    narrow.addEventListener('change', fit)
    fit()
    toc.addEventListener('click', (event) => { if (narrow.matches && event.target.closest('a')) toc.open = false })
    const mark = (id) => toc.querySelectorAll('a').forEach((link) => {
      if (link.getAttribute('href') === `#${id}`) link.setAttribute('aria-current', 'true')
      else link.removeAttribute('aria-current')
    })
    const watch = new IntersectionObserver((entries) => {
      for (const entry of entries) if (entry.isIntersecting) mark(entry.target.id)
    }, { rootMargin: '-20% 0px -75% 0px' })
    document.querySelectorAll('section.chapter').forEach((chapter) => watch.observe(chapter))
  }

  // A page that holds this file in a frame is told how high it would be.
  const tell = () => {
    const single = document.querySelector('main[data-single]')
    if (!single || window.parent === window) return
    const send = () => window.parent.postMessage(
      { wonderland: single.dataset.single, height: Math.ceil(single.getBoundingClientRect().height) }, '*')
    new ResizeObserver(send).observe(single)
    send()
  }

  // In two steps: between them the figures take in the light theme's colors, which they do not do at once.
  let before = null
  let folded = []
  window.addEventListener('beforeprint', () => {
    before = root.dataset.theme
    theme('light')
    folded = [...document.querySelectorAll('.words details:not([open])')]
    for (const fold of folded) fold.open = true
  })
  window.addEventListener('beforeprint', () => {
    for (const player of players) player.print()
    root.classList.add('printing')
  })
  window.addEventListener('afterprint', () => {
    root.classList.remove('printing')
    document.querySelectorAll('img.printed').forEach((image) => image.remove())
    for (const fold of folded) fold.open = false
    theme(before)
  })

  // What is nearest to the reader first; the rest while there is nothing else to do, so that all of it can be printed.
  const build = async () => {
    for (;;) {
      const left = players.filter((player) => !player.built).sort((a, b) => a.distance - b.distance)
      if (!left.length) break
      await left[0].build()
      await idle()
    }
    root.dataset.ready = 'true'
  }

  theme(light() ? 'light' : 'dark')
  for (const button of document.querySelectorAll('button.theme')) {
    button.addEventListener('click', () => theme(light() ? 'dark' : 'light', true))
  }
  contents()
  tell()
  build()
})()
