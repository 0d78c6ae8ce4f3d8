//! Numbers that belong to people: payment cards, and the Brazilian tax numbers CPF and CNPJ. Their check digits keep
//! ordinary numbers out.

use super::Found;

/// How a number is written, `9` standing for a digit; whether the digits are one; what to call it.
type Written = (&'static str, fn(&[u32]) -> bool, &'static str);

const CARD: &str = "a payment card number";

const NUMBERS: [Written; 7] = [
    ("9999999999999999", is_card, CARD),
    ("9999 9999 9999 9999", is_card, CARD),
    ("9999-9999-9999-9999", is_card, CARD),
    ("999999999999999", is_card, CARD),
    ("9999 999999 99999", is_card, CARD),
    ("999.999.999-99", |digits| check_digits_fit(digits, 11), "a CPF number"),
    ("99.999.999/9999-99", |digits| check_digits_fit(digits, 9), "a CNPJ number"),
];

/// Every such number in a text.
pub(super) fn find(text: &str) -> Vec<Found> {
    let mut found = Vec::new();
    let mut at = 0;
    while let Some(begin) = text[at..].find(|c: char| c.is_ascii_digit()).map(|step| at + step) {
        let digits = text[begin..].bytes().take_while(u8::is_ascii_digit).count();
        let is_free = !text[..begin].ends_with(|c: char| c.is_alphanumeric() || c == '_');
        let number =
            if is_free { NUMBERS.iter().find_map(|written| number(&text[begin..], written)) } else { None };
        at = match number {
            Some((length, kind)) => {
                found.push(Found { range: begin..begin + length, kind });
                begin + length
            }
            None => begin + digits,
        };
    }
    found
}

/// The number a text begins with, when it is written in this way: its length and what it is.
fn number(text: &str, (pattern, is_one, kind): &Written) -> Option<(usize, &'static str)> {
    let written = text.get(..pattern.len())?;
    let fits =
        |(found, wanted): (char, char)| if wanted == '9' { found.is_ascii_digit() } else { found == wanted };
    let ends = !text[pattern.len()..].starts_with(|c: char| c.is_alphanumeric() || c == '_');
    let digits: Vec<u32> = written.chars().filter_map(|c| c.to_digit(10)).collect();
    let found = ends && written.chars().zip(pattern.chars()).all(fits) && is_one(&digits);
    found.then_some((pattern.len(), *kind))
}

/// An issuer that exists, and Luhn's check digit.
fn is_card(digits: &[u32]) -> bool {
    let issuer = digits.iter().take(4).fold(0, |number, digit| number * 10 + digit);
    let known = match digits.len() {
        15 => matches!(issuer / 100, 34 | 37),
        16 => matches!(issuer, 4000..=4999 | 5100..=5599 | 2221..=2720 | 6011 | 6500..=6599),
        _ => false,
    };
    known && luhn(digits)
}

fn luhn(digits: &[u32]) -> bool {
    let sum: u32 = digits
        .iter()
        .rev()
        .enumerate()
        .map(|(place, digit)| match place % 2 {
            0 => *digit,
            _ if digit * 2 > 9 => digit * 2 - 9,
            _ => digit * 2,
        })
        .sum();
    sum.is_multiple_of(10)
}

/// The two last digits check those before them; the weights fall by one from left to right down to 2, and begin
/// again from `highest` (CNPJ) or never do (CPF).
fn check_digits_fit(digits: &[u32], highest: u32) -> bool {
    let same = digits.iter().all(|digit| Some(digit) == digits.first());
    let fits = |length: usize| {
        let weights = (2..=highest).cycle();
        let sum: u32 = digits[..length].iter().rev().zip(weights).map(|(digit, weight)| digit * weight).sum();
        digits[length] == (sum * 10 % 11) % 10
    };
    !same && digits.len() > 2 && fits(digits.len() - 2) && fits(digits.len() - 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cards_and_tax_numbers_are_found_by_their_check_digits() {
        // Published test numbers, put together so that the tree holds none.
        let card = ["4111", "1111", "1111", "1111"];
        let cpf = ["529.982", ".247-25"].concat();
        let cnpj = ["11.222.333", "/0001-81"].concat();
        for (number, kind) in [
            (card.concat(), CARD),
            (card.join(" "), CARD),
            (card.join("-"), CARD),
            (cpf, "a CPF number"),
            (cnpj, "a CNPJ number"),
        ] {
            let range = 9..9 + number.len();
            let line = format!("pay with {number} 12/27, please");
            assert_eq!(find(&line), [Found { range, kind }], "{number}");
            let last = number.len() - 1;
            let wrong = format!("{}{}", &number[..last], if number.ends_with('9') { "0" } else { "9" });
            assert_eq!(find(&wrong), [], "{wrong}");
        }
    }

    #[test]
    fn ordinary_numbers_are_left_alone() {
        for line in [
            "253_402_200_000_000",
            "const EDGE: i64 = 253402200000000;",
            "2026-11-21 06:12:08 0000000000000000",
            "sha256 4111aa1111bb1111cc1111",
            "é4111111111111111é",
        ] {
            assert_eq!(find(line), [], "{line}");
        }
    }
}
