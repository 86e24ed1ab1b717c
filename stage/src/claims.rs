//! What the article claims, in our own words: `claims.tsv`.

/// One claim.
#[derive(Clone, Copy, Debug)]
pub struct Claim {
    /// Its id: a letter and a number.
    pub id: &'static str,
    /// The article's section.
    pub section: &'static str,
    /// The claim.
    pub statement: &'static str,
    /// Whether an example can tell only a part of it, for it needs a look at the wire.
    pub needs_wire: bool,
}

/// All claims, in the order of the article's sections as the file has them.
pub fn all() -> impl Iterator<Item = Claim> {
    include_str!("../claims.tsv").lines().filter_map(|line| {
        let mut fields = line.split('\t');
        let (id, section, statement) = (fields.next()?, fields.next()?, fields.next()?);
        Some(Claim { id, section, statement, needs_wire: fields.next() == Some("wire") })
    })
}

/// The one with this id.
pub fn find(id: &str) -> Option<Claim> {
    all().find(|claim| claim.id == id)
}
