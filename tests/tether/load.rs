//! Many processes at once, and what they cost: figures are printed, not judged.

use std::time::Instant;

use wharf::tether::client::ProcessEvent;

use crate::support::*;

#[tokio::test(flavor = "multi_thread")]
async fn a_hundred_processes_talk_at_once() {
    let tether = Tether::start();
    let client = tether.client().await;
    let began = Instant::now();
    for i in 0..100 {
        client.start(sh(&format!("p{i}"), "while read x; do echo $0 $x; done; exit 0")).await.unwrap();
    }
    println!("100 starts: {:.1} ms each", began.elapsed().as_secs_f64() * 10.0);
    let mut attachments = Vec::new();
    for i in 0..100 {
        attachments.push(client.attach(&format!("p{i}"), 0, 0).await.unwrap());
    }
    for n in 1..=20 {
        for i in 0..100 {
            client.input(&format!("p{i}"), n, false, format!("{i} {n}\n")).await.unwrap();
        }
    }
    for (i, attachment) in attachments.iter_mut().enumerate() {
        let expected: Vec<String> = (1..=20).map(|n| format!("/bin/sh {i} {n}")).collect();
        assert_eq!(lines(attachment, 20).await, expected);
    }
    drop(attachments);
    let status = std::fs::read_to_string(format!("/proc/{}/status", tether.pid())).unwrap();
    println!("tether with 100 processes: {}", status.lines().find(|line| line.starts_with("VmRSS")).unwrap());
    for i in 0..100 {
        client.close_stdin(&format!("p{i}")).await.unwrap();
    }
    for i in 0..100 {
        let id = format!("p{i}");
        let end = client.list().await.unwrap().into_iter().find(|info| info.id == id).unwrap().stdout.end;
        let attachment = client.attach(&id, end, 0).await.unwrap();
        let done =
            finish_from(attachment, Finished { stdout: vec![0; usize::try_from(end).unwrap()], ..Finished::default() })
                .await;
        assert_eq!(done.code, Some(0));
        client.forget(&id).await.unwrap();
    }
    assert!(client.list().await.unwrap().is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn output_is_fast() {
    let tether = Tether::start();
    let client = tether.client().await;
    let total = 256 << 20;
    let began = Instant::now();
    client.start(sh("zero", &format!("head -c {total} /dev/zero"))).await.unwrap();
    let mut attachment = client.attach("zero", 0, 0).await.unwrap();
    let mut got = 0;
    loop {
        match within(attachment.events.recv()).await.unwrap() {
            ProcessEvent::Output { offset, bytes, .. } => {
                assert_eq!(offset, got);
                got += bytes.len() as u64;
                client.ack("zero", got, 0);
            }
            ProcessEvent::Exited { code, .. } => {
                assert_eq!((code, got), (Some(0), total));
                break;
            }
            other => panic!("{other:?}"),
        }
    }
    println!("{:.0} MB/s of one process's output", total as f64 / 1e6 / began.elapsed().as_secs_f64());
}
