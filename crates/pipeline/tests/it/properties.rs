//! What the fuzz targets hold to be true, played over what the tests know and what dice make of it.

#[path = "../../fuzz/properties.rs"]
mod played;

use crate::dice::Dice;

const FILES: [&str; 3] = [
    include_str!("../fixtures/everything.yaml"),
    include_str!("../fixtures/seed-example.yaml"),
    include_str!("../fixtures/twelve-faults.yaml"),
];

const EXPRESSIONS: [&str; 8] = [
    "inputs.x.exists(i, i in stages.plan.outputs.x)\0[1,2,[3,{\"a\":null}]]",
    "inputs.x == stages.plan.outputs.x && size(inputs.x) > 1\0\"text\"",
    "inputs.x.map(i, {string(i): i + 1})[0]\0[1,2]",
    "inputs.x['a'].b[inputs.n] ? 'y' : env.HOME\0{\"a\":{\"b\":[1]}}",
    "[inputs.x, inputs.x].all(i, i + i == [0.5])\0[0.5]",
    "stages['plan'].artifacts[0].contains('plan') || has(inputs.x.y)\0{}",
    "type(inputs.x) == string ? inputs.x + 'a' : string(bytes(inputs.x))\0\"ä\"",
    "-inputs.x * 2 - inputs.n % 2 <= double(inputs.x)\x001e300",
];

/// A few bytes of it put elsewhere, taken out or made up.
fn mutated(dice: &mut Dice, text: &str) -> Vec<u8> {
    let mut bytes = text.as_bytes().to_vec();
    for _ in 0..=dice.roll(3) {
        let at = dice.roll(bytes.len() + 1);
        let end = (at + dice.roll(12)).min(bytes.len());
        match dice.roll(3) {
            0 => drop(bytes.drain(at..end)),
            1 => {
                let copy = bytes[at..end].to_vec();
                let to = dice.roll(bytes.len() + 1);
                bytes.splice(to..to, copy);
            }
            _ => bytes.insert(at, dice.pick(b"()[]{}'\".,+-*/%<>=!&|?:$ix01\0\n\xff")),
        }
    }
    bytes
}

#[test]
fn r041_the_fuzz_targets_hold_for_files() {
    for file in FILES {
        played::check(file.as_bytes());
    }
    for seed in 1..=500 {
        let mut dice = Dice::new(seed);
        let file = dice.pick(&FILES);
        played::check(&mutated(&mut dice, file));
    }
}

#[test]
fn r050_the_fuzz_targets_hold_for_expressions_and_texts() {
    for seed in 0..=3_000 {
        let mut dice = Dice::new(seed + 1);
        let sound = dice.pick(&EXPRESSIONS);
        let bytes = if seed == 0 { sound.as_bytes().to_vec() } else { mutated(&mut dice, sound) };
        played::expr(&bytes);
        let end = bytes.iter().position(|byte| *byte == 0).unwrap_or(bytes.len());
        played::text(&[b"a ${{ ", &bytes[..end], b" }} b $${{", &bytes[end..]].concat());
    }
}
