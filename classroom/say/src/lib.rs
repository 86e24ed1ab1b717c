//! `say!("your {name} closed fd {fd}")`: as `format!`, but the sentence is looked up first.
//!
//! A translation has another order of words, so what is put in goes along by name.

use proc_macro::token_stream::IntoIter;
use proc_macro::{Delimiter, Group, Ident, TokenStream, TokenTree};

/// Calls `crate::language::say` with the sentence as it stands here, and with each `{…}` of it and
/// what that becomes.
#[proc_macro]
pub fn say(input: TokenStream) -> TokenStream {
    let mut tokens = input.into_iter();
    let sentence = tokens.next().expect("a sentence");
    // What stands between the commas after it.
    let mut values = vec![TokenStream::new()];
    for token in tokens.skip(1) {
        match &token {
            TokenTree::Punct(comma) if comma.as_char() == ',' => values.push(TokenStream::new()),
            _ => values.last_mut().expect("one at least").extend([token]),
        }
    }
    let mut values = values.into_iter();
    let mut pairs = TokenStream::new();
    for place in places(&sentence.to_string()) {
        let (name, how) = place.split_once(':').unwrap_or((&place, ""));
        let value = match name {
            "" => values.next().expect("a value for each {}"),
            name => TokenTree::from(Ident::new(name, sentence.span())).into(),
        };
        let name = tokens_of(&format!("{name:?},"));
        let format = tokens_of(&format!("\"{{:{how}}}\","));
        let shown = tokens_of("::std::format!").chain(group(format.chain(value)));
        pairs.extend(group(name.chain(shown)).chain(tokens_of(",")));
    }
    let pairs = tokens_of("&").chain([Group::new(Delimiter::Bracket, pairs).into()]);
    let said = tokens_of("crate::language::say");
    said.chain(group(TokenStream::from(sentence).into_iter().chain(tokens_of(",")).chain(pairs)))
        .collect()
}

fn tokens_of(text: &str) -> IntoIter {
    text.parse::<TokenStream>().expect("tokens").into_iter()
}

/// In parentheses.
fn group(tokens: impl IntoIterator<Item = TokenTree>) -> impl Iterator<Item = TokenTree> {
    [Group::new(Delimiter::Parenthesis, tokens.into_iter().collect()).into()].into_iter()
}

/// `name`, `:?` of each `{…}` in a literal.
fn places(literal: &str) -> Vec<String> {
    let bare = literal.replace("{{", "").replace("}}", "");
    bare.split('{').skip(1).filter_map(|rest| Some(rest.split_once('}')?.0.to_owned())).collect()
}
