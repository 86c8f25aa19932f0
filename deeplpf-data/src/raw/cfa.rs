//! Patterns of colour filters.

use std::fmt;

/// Red, green and blue as indices of planes.
pub const RED: u8 = 0;
/// See [`RED`].
pub const GREEN: u8 = 1;
/// See [`RED`].
pub const BLUE: u8 = 2;

/// The repeating pattern of colour filters on a sensor: 2 x 2 (Bayer) or 6 x 6 (X-Trans).
///
/// ```
/// use deeplpf_data::raw::Cfa;
/// let bayer: Cfa = "RGGB".parse().unwrap();
/// assert_eq!(bayer.shifted(1, 1).to_string(), "BGGR");
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cfa {
    side: usize,
    /// `side` x `side` colours, row by row.
    colours: Vec<u8>,
}

/// A pattern that is neither Bayer nor X-Trans.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the colour filters {0} are neither Bayer's nor X-Trans")]
pub struct UnknownPattern(pub String);

impl Cfa {
    /// A pattern from its colours, row by row: 4 or 36 of [`RED`], [`GREEN`], [`BLUE`], all of which
    /// must occur.
    ///
    /// # Errors
    /// [`UnknownPattern`].
    pub fn new(colours: &[u8]) -> Result<Self, UnknownPattern> {
        let side = match colours.len() {
            4 => 2,
            36 => 6,
            _ => 0,
        };
        let rgb = [RED, GREEN, BLUE].iter().all(|colour| colours.contains(colour));
        if side == 0 || !rgb || colours.iter().any(|&colour| colour > BLUE) {
            return Err(UnknownPattern(name(colours)));
        }
        Ok(Self { side, colours: colours.to_vec() })
    }

    /// Rows and columns after which the pattern repeats: 2 or 6.
    #[must_use]
    pub fn side(&self) -> usize {
        self.side
    }

    /// Whether this is a Bayer pattern (X-Trans otherwise).
    #[must_use]
    pub fn is_bayer(&self) -> bool {
        self.side == 2
    }

    /// The colour of a pixel, from the top left corner.
    #[must_use]
    pub fn colour(&self, row: usize, column: usize) -> usize {
        usize::from(self.colours[row % self.side * self.side + column % self.side])
    }

    /// The pattern seen from the pixel `rows` down and `columns` to the right.
    #[must_use]
    pub fn shifted(&self, rows: usize, columns: usize) -> Self {
        let places = (0..self.side).flat_map(|r| (0..self.side).map(move |c| (r, c)));
        let colours = places.map(|(r, c)| self.colour(r + rows, c + columns) as u8).collect();
        Self { side: self.side, colours }
    }

    /// By how many rows and columns a picture of this pattern must be cut at the top and left so that
    /// it has the pattern `wanted`; the fewest rows, then the fewest columns. `None` where no cut does
    /// it.
    #[must_use]
    pub fn shift_to(&self, wanted: &Self) -> Option<(usize, usize)> {
        (0..self.side)
            .flat_map(|rows| (0..self.side).map(move |columns| (rows, columns)))
            .find(|&(rows, columns)| self.shifted(rows, columns) == *wanted)
    }
}

fn name(colours: &[u8]) -> String {
    colours
        .iter()
        .map(|&c| [b'R', b'G', b'B'].get(usize::from(c)).map_or('?', |&c| c.into()))
        .collect()
}

/// The colours' initials, row by row: `RGGB`.
impl fmt::Display for Cfa {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&name(&self.colours))
    }
}

impl std::str::FromStr for Cfa {
    type Err = UnknownPattern;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let colours: Option<Vec<u8>> =
            text.chars().map(|letter| "RGB".find(letter).map(|colour| colour as u8)).collect();
        colours.map_or_else(|| Err(UnknownPattern(text.to_owned())), |colours| Self::new(&colours))
    }
}
