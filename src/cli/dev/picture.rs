//! What is drawn over and over at the bottom of a terminal.

use console::Term;

/// Rows that are drawn even where the terminal has no room for them.
const ROWS_MIN: usize = 4;

/// The lines that were drawn last.
#[derive(Debug)]
pub(super) struct Picture {
    screen: Term,
    drawn: usize,
}

impl Picture {
    pub(super) const fn new(screen: Term) -> Self {
        Self { screen, drawn: 0 }
    }

    /// Whether there is anything to draw on.
    pub(super) fn is_term(&self) -> bool {
        self.screen.is_term()
    }

    /// How many rows fit beside `others` lines.
    pub(super) fn rows(&self, others: usize) -> usize {
        usize::from(self.screen.size().0).saturating_sub(others).max(ROWS_MIN)
    }

    /// Draws `text` where the last one was.
    pub(super) fn show(&mut self, text: &str) {
        self.clear();
        // A screen that can't be written to shows nothing; the run goes on.
        let _ = self.screen.write_line(text);
        self.drawn = text.lines().count();
    }

    /// Takes away what was drawn, so that something can be printed.
    pub(super) fn clear(&mut self) {
        let _ = self.screen.clear_last_lines(self.drawn);
        self.drawn = 0;
    }
}
