//! The same promises, kept by a real OpenBao server.

use std::sync::Arc;

use tokio::task::LocalSet;

use crate::bao::{Bao, Storage, program};
use crate::contract;
use crate::home::Home;

macro_rules! families {
    ( $( $name:ident )+ ) => { $(
        #[tokio::test]
        async fn $name() {
            let Some(program) = program(concat!("server::", stringify!($name))) else { return };
            let home = Arc::new(Home::on(Bao::start(&program, Storage::Memory).await));
            LocalSet::new().run_until(contract::hold(home, stringify!($name))).await;
        }
    )+

        #[test]
        fn every_family_is_played() {
            let played = [ $( stringify!($name) ),+ ];
            let families: Vec<&str> = contract::FAMILIES.iter().map(|(name, _)| *name).collect();
            assert_eq!(played.as_slice(), families);
        }
    };
}

families! { runs children lookup renewal revocation expiry find kv policies wrapping }
