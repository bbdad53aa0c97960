//! Sessions in memory of the caller's: the same answers, and never more than was asked for.
#![allow(clippy::unwrap_used, missing_docs, reason = "tests")]

mod common;

use hipflask_runtime::{ErrorKind, Model, Options, Session, View};

#[test]
fn a_session_in_given_memory_answers_as_one_in_its_own_wherever_that_begins() {
    for graph in [common::int8_network(), common::weight_only::network()] {
        let model = Model::from_graph(graph).unwrap();
        let options = Options::default();
        let mut own = Session::new(&model, &options).unwrap();
        own.run(&[View::F32(&common::sample(1))]).unwrap();
        let needed = own.memory_bytes();
        assert!(needed >= own.arena_bytes() + own.scratch_bytes());
        for start in [0, 1, 63] {
            let memory = vec![0xa5; needed + start].leak();
            let (_, memory) = memory.split_at_mut(start);
            let mut given = Session::new_in(&model, &options, memory).unwrap();
            assert_eq!(given.memory_bytes(), needed);
            given.run(&[View::F32(&common::sample(1))]).unwrap();
            assert_eq!(given.output(0), own.output(0));
        }
        for few in [0, 1, needed / 2, needed - 1] {
            let error = Session::new_in(&model, &options, vec![0; few].leak()).err().unwrap();
            let wanted = format!("memory: has {few} bytes; this model needs {needed} of them here");
            assert_eq!((error.kind(), error.to_string()), (ErrorKind::Input, wanted));
        }
    }
}
