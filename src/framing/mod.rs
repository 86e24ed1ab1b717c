//! Message boundaries, which TCP does not keep. The article's sections 1.6 and 3.
//!
//! | module | a message ends | article |
//! | --- | --- | --- |
//! | [`length`] | after as many bytes as its header says | 3.1 |
//! | [`line`](mod@line) | at a newline | 3.2 |
//! | [`record`] | after N bytes, always | 3.3 |
//! | [`tlv`] | (fields inside a message: type, length, value) | 3.4 |

pub mod length;
pub mod line;
pub mod record;
pub mod tlv;
