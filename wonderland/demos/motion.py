"""Whether the reader wants things to move."""

import param
from panel.custom import JSComponent


class Motion(JSComponent):
    """Tells Python whether the reader's system asks for less motion; shows nothing."""

    reduced = param.Boolean(default=False, doc="The reader prefers reduced motion.")

    _esm = """
    export function render({ model }) {
      const query = window.matchMedia('(prefers-reduced-motion: reduce)')
      const tell = () => { model.reduced = query.matches }
      query.addEventListener('change', tell)
      model.on('remove', () => query.removeEventListener('change', tell))
      tell()
      const nothing = document.createElement('div')
      nothing.hidden = true
      return nothing
    }
    """
