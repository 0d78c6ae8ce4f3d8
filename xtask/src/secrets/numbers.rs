//! Numbers that belong to people: payment cards, and the Brazilian tax numbers CPF and CNPJ. Their check digits keep
//! ordinary numbers out.

/// The kinds of number that a line seems to hold.
pub(super) fn found_in(line: &str) -> Vec<&'static str> {
    let mut kinds = Vec::new();
    for run in runs(line) {
        let digits: Vec<u32> = run.chars().filter_map(|found| found.to_digit(10)).collect();
        if is_card(run, &digits) {
            kinds.push("a payment card number");
        } else if written_as(run, "999.999.999-99") && check_digits_fit(&digits, 11) {
            kinds.push("a CPF number");
        } else if written_as(run, "99.999.999/9999-99") && check_digits_fit(&digits, 9) {
            kinds.push("a CNPJ number");
        }
    }
    kinds
}

/// The pieces of a line that consist of digits and what people write between them, and touch no letter.
fn runs(line: &str) -> impl Iterator<Item = &str> {
    line.split(|found: char| !(found.is_ascii_alphanumeric() || "_ .-/".contains(found)))
        .flat_map(|piece| piece.split(|found: char| found.is_alphabetic() || found == '_'))
        .map(|run| run.trim_matches([' ', '.', '-', '/']))
        .filter(|run| run.len() >= 13)
}

fn written_as(run: &str, pattern: &str) -> bool {
    run.len() == pattern.len()
        && run.chars().zip(pattern.chars()).all(|(found, wanted)| match wanted {
            '9' => found.is_ascii_digit(),
            _ => found == wanted,
        })
}

/// Four groups of four, or all together; an issuer that exists; Luhn's check digit.
fn is_card(run: &str, digits: &[u32]) -> bool {
    let grouped = ["9999 9999 9999 9999", "9999-9999-9999-9999", "9999 999999 99999"];
    let written =
        run.chars().all(|found| found.is_ascii_digit()) || grouped.iter().any(|shape| written_as(run, shape));
    let issuer = digits.iter().take(4).fold(0, |number, digit| number * 10 + digit);
    let known = match digits.len() {
        15 => matches!(issuer / 100, 34 | 37),
        16 => matches!(issuer, 4000..=4999 | 5100..=5599 | 2221..=2720 | 6011 | 6500..=6599),
        _ => false,
    };
    written && known && luhn(digits)
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
            (card.concat(), "a payment card number"),
            (card.join(" "), "a payment card number"),
            (card.join("-"), "a payment card number"),
            (cpf, "a CPF number"),
            (cnpj, "a CNPJ number"),
        ] {
            assert_eq!(found_in(&format!("pay with {number}, please")), [kind], "{number}");
            let last = number.len() - 1;
            let wrong = format!("{}{}", &number[..last], if number.ends_with('9') { "0" } else { "9" });
            assert_eq!(found_in(&wrong), [""; 0], "{wrong}");
        }
    }

    #[test]
    fn ordinary_numbers_are_left_alone() {
        for line in [
            "253_402_200_000_000",
            "const EDGE: i64 = 253402200000000;",
            "2026-11-21 06:12:08 0000000000000000",
            "sha256 4111aa1111bb1111cc1111",
        ] {
            assert_eq!(found_in(line), [""; 0], "{line}");
        }
    }
}
