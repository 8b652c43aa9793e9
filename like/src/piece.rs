//! A piece of a pattern between two `%`: a fixed number of characters and `_`. It can search for itself in a text.

use std::collections::HashMap;

use memchr::memmem;

use crate::Stopped;

/// The number of characters after which `stop` is checked.
const CHARS_PER_CHECK: usize = 1 << 16;

/// The characters, with ASCII letters in lower case; `None` is `_`.
#[derive(Debug, Clone, Default)]
pub(crate) struct Piece {
    units: Vec<Option<char>>,
    search: Search,
}

#[derive(Debug, Clone, Default)]
enum Search {
    #[default]
    Nothing,
    /// A substring.
    Plain(Box<memmem::Finder<'static>>),
    /// A piece with `_`.
    Masks(Box<Masks>),
}

impl Piece {
    pub(crate) fn push(&mut self, char: char) {
        self.units.push(Some(char.to_ascii_lowercase()));
    }

    pub(crate) fn push_any(&mut self) {
        self.units.push(None);
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.units.is_empty()
    }

    /// Prepares the search, after all characters are added.
    pub(crate) fn finish(&mut self) {
        let literal: Option<String> = self.units.iter().copied().collect();
        self.search = match literal {
            Some(literal) if literal.is_empty() => Search::Nothing,
            Some(literal) => Search::Plain(Box::new(memmem::Finder::new(&literal).into_owned())),
            None => Search::Masks(Box::new(Masks::new(&self.units))),
        };
    }

    /// Returns where the piece ends if the text begins with it.
    pub(crate) fn fits_at_start(&self, text: &str) -> Option<usize> {
        let mut chars = text.chars();
        self.units.iter().all(|unit| fits(*unit, chars.next())).then(|| text.len() - chars.as_str().len())
    }

    /// Returns where the piece begins if the text ends with it.
    pub(crate) fn fits_at_end(&self, text: &str) -> Option<usize> {
        let mut chars = text.chars();
        self.units.iter().rev().all(|unit| fits(*unit, chars.next_back())).then_some(chars.as_str().len())
    }

    /// Returns where the piece first ends in a text whose ASCII letters are in lower case.
    pub(crate) fn find_end(
        &self,
        text: &str,
        stop: &mut impl FnMut() -> bool,
    ) -> Result<Option<usize>, Stopped> {
        match &self.search {
            Search::Nothing => Ok(Some(0)),
            Search::Plain(finder) => {
                Ok(finder.find(text.as_bytes()).map(|begin| begin + finder.needle().len()))
            }
            Search::Masks(masks) => masks.find_end(text, stop),
        }
    }
}

fn fits(unit: Option<char>, char: Option<char>) -> bool {
    match (unit, char) {
        (_, None) => false,
        (None, Some(_)) => true,
        (Some(unit), Some(char)) => unit == char.to_ascii_lowercase(),
    }
}

/// Bit masks of the units that each character matches: one bit per unit.
#[derive(Debug, Clone)]
struct Masks {
    words: usize,
    /// The bit of the last unit, in the last word.
    last: u64,
    /// The masks of all ASCII characters in sequence.
    ascii: Vec<u64>,
    others: HashMap<char, Vec<u64>>,
    /// The mask of all other characters: only `_` matches them.
    any: Vec<u64>,
}

impl Masks {
    fn new(units: &[Option<char>]) -> Masks {
        let words = units.len().div_ceil(64);
        let mut any = vec![0; words];
        for (at, _) in units.iter().enumerate().filter(|(_, unit)| unit.is_none()) {
            any[at / 64] |= 1 << (at % 64);
        }
        let mut ascii: Vec<u64> = any.iter().copied().cycle().take(words * 128).collect();
        let mut others: HashMap<char, Vec<u64>> = HashMap::new();
        for (at, char) in units.iter().enumerate().filter_map(|(at, unit)| Some((at, (*unit)?))) {
            let mask = if char.is_ascii() {
                &mut ascii[char as usize * words..][..words]
            } else {
                others.entry(char).or_insert_with(|| any.clone()).as_mut_slice()
            };
            mask[at / 64] |= 1 << (at % 64);
        }
        Masks { words, last: 1 << ((units.len() - 1) % 64), ascii, others, any }
    }

    fn of(&self, char: char) -> &[u64] {
        if char.is_ascii() {
            &self.ascii[char as usize * self.words..][..self.words]
        } else {
            self.others.get(&char).unwrap_or(&self.any)
        }
    }

    fn find_end(&self, text: &str, stop: &mut impl FnMut() -> bool) -> Result<Option<usize>, Stopped> {
        // Bit n is set if the first n + 1 units match the characters up to here.
        let mut state = vec![0_u64; self.words];
        for (count, (at, char)) in text.char_indices().enumerate() {
            if count % CHARS_PER_CHECK == 0 && stop() {
                return Err(Stopped);
            }
            let mut carried = 1;
            for (word, mask) in state.iter_mut().zip(self.of(char)) {
                let next = (*word << 1) | carried;
                carried = *word >> 63;
                *word = next & mask;
            }
            if state.last().is_some_and(|word| word & self.last != 0) {
                return Ok(Some(at + char.len_utf8()));
            }
        }
        Ok(None)
    }
}
