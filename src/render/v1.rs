//! The types of `tcpleak.report/1`, `tcpleak.list/1` and `tcpleak.event/1`, as `docs/json.md` and its
//! schemas describe them.
//!
//! They are the contract's own, apart from the model, so that the model can change and the keys
//! stay. A key that others may rely on is never renamed or taken away within a version; a new one
//! is added here, in the schemas and in the page.

use serde::Serialize;

#[derive(Serialize)]
pub(super) struct ReportV1 {
    pub(super) schema: &'static str,
    #[serde(flatten)]
    pub(super) head: HeadV1,
    pub(super) listeners: Vec<ListenerV1>,
    pub(super) close_wait: Vec<CloseWaitV1>,
    pub(super) strays: Vec<StrayV1>,
    pub(super) findings: Vec<FindingV1>,
    pub(super) summary: SummaryV1,
    pub(super) counters: Option<CountersV1>,
}

#[derive(Serialize)]
pub(super) struct ListV1 {
    pub(super) schema: &'static str,
    #[serde(flatten)]
    pub(super) head: HeadV1,
    pub(super) sockets: Vec<SocketV1>,
}

/// What both documents begin with.
#[derive(Serialize)]
pub(super) struct HeadV1 {
    pub(super) taken_at: String,
    pub(super) duration_ms: u64,
    pub(super) host: HostV1,
    pub(super) source: SourceV1,
    pub(super) coverage: CoverageV1,
    pub(super) namespaces: Vec<NamespaceV1>,
}

#[derive(Serialize)]
pub(super) struct NamespaceV1 {
    pub(super) netns: u64,
    pub(super) own: bool,
    pub(super) name: Option<String>,
    pub(super) mounts: Vec<String>,
    pub(super) pid: Option<u32>,
    pub(super) source: Option<&'static str>,
    pub(super) unread: Option<String>,
    pub(super) sockets_in_use: Option<u64>,
    pub(super) counters: Option<CountersV1>,
}

#[derive(Serialize)]
pub(super) struct HostV1 {
    pub(super) hostname: String,
    pub(super) kernel: String,
}

#[derive(Serialize)]
pub(super) struct SourceV1 {
    pub(super) sockets: &'static str,
    pub(super) owners: &'static str,
}

#[derive(Serialize)]
pub(super) struct CoverageV1 {
    pub(super) complete: bool,
    pub(super) processes_total: u64,
    pub(super) processes_read: u64,
    pub(super) processes_vanished: u64,
    pub(super) netns_total: u64,
    pub(super) netns_read: u64,
    pub(super) gaps: Vec<GapV1>,
}

#[derive(Serialize)]
pub(super) struct GapV1 {
    pub(super) weakens: &'static str,
    pub(super) what: String,
    pub(super) why: String,
    pub(super) needs: Option<String>,
    pub(super) count: u64,
}

#[derive(Serialize)]
pub(super) struct EndpointV1 {
    pub(super) addr: String,
    pub(super) port: u16,
}

#[derive(Serialize)]
pub(super) struct StrayV1 {
    pub(super) netns: u64,
    #[serde(flatten)]
    pub(super) local: EndpointV1,
}

#[derive(Serialize)]
pub(super) struct ListenerV1 {
    pub(super) netns: u64,
    pub(super) cookie: Option<String>,
    pub(super) inode: Option<u64>,
    pub(super) local: EndpointV1,
    pub(super) accept_queue: u32,
    pub(super) backlog: Option<u32>,
    pub(super) full: bool,
    pub(super) drops: Option<u32>,
    pub(super) syn_recv: u32,
    pub(super) syn_queue_full: Option<bool>,
    pub(super) oldest_wait_ms: Option<u64>,
    pub(super) queued: QueuedV1,
    pub(super) movement: Option<MovementV1>,
    pub(super) verdict: Option<&'static str>,
    pub(super) cgroup: Option<CgroupV1>,
    pub(super) holders: Vec<HolderV1>,
}

#[derive(Serialize)]
pub(super) struct QueuedV1 {
    pub(super) established: Option<u32>,
    pub(super) close_wait: Option<u32>,
    pub(super) gone: Option<u32>,
    pub(super) unknown: Option<String>,
    pub(super) shared_with: u32,
}

#[derive(Serialize)]
pub(super) struct MovementV1 {
    pub(super) over_ms: u64,
    pub(super) left: u32,
    pub(super) came: u32,
    pub(super) stayed: u32,
}

#[derive(Serialize)]
pub(super) struct CloseWaitV1 {
    pub(super) netns: u64,
    pub(super) cookie: Option<String>,
    pub(super) inode: Option<u64>,
    pub(super) local: EndpointV1,
    pub(super) remote: EndpointV1,
    pub(super) recv_q: u32,
    pub(super) send_q: u32,
    pub(super) unread_bytes: u32,
    pub(super) fin_unread: bool,
    pub(super) age_ms: Option<u64>,
    pub(super) timeline: Option<TimelineV1>,
    pub(super) accepted: bool,
    pub(super) direction: Option<&'static str>,
    pub(super) listener: Option<String>,
    pub(super) far_end: Option<FarEndV1>,
    pub(super) cgroup: Option<CgroupV1>,
    pub(super) holders: Vec<HolderV1>,
}

#[derive(Serialize)]
pub(super) struct TimelineV1 {
    pub(super) established_ms: Option<u64>,
    pub(super) data_received_ms: Option<u64>,
    pub(super) fin_ms: Option<u64>,
    pub(super) data_sent_ms: Option<u64>,
}

#[derive(Serialize)]
pub(super) struct FarEndV1 {
    pub(super) netns: u64,
    pub(super) state: Option<String>,
    pub(super) gone: bool,
    pub(super) holders: Vec<HolderV1>,
}

#[derive(Serialize)]
pub(super) struct SocketV1 {
    pub(super) netns: u64,
    pub(super) cookie: Option<String>,
    pub(super) inode: Option<u64>,
    pub(super) state: String,
    pub(super) local: EndpointV1,
    pub(super) remote: EndpointV1,
    pub(super) recv_q: u32,
    pub(super) send_q: Option<u32>,
    pub(super) accepted: bool,
    pub(super) uid: u32,
    pub(super) cgroup: Option<CgroupV1>,
    pub(super) holders: Vec<HolderV1>,
}

#[derive(Serialize)]
pub(super) struct HolderV1 {
    pub(super) pid: u32,
    pub(super) start_time: u64,
    pub(super) comm: Option<String>,
    pub(super) exe: Option<String>,
    pub(super) user: Option<String>,
    #[serde(flatten)]
    pub(super) service: ServiceV1,
    pub(super) fds: Vec<i32>,
}

/// What people call the place of a process or socket.
#[derive(Serialize)]
pub(super) struct ServiceV1 {
    pub(super) unit: Option<String>,
    pub(super) slice: Option<String>,
    pub(super) container: Option<String>,
    pub(super) container_name: Option<String>,
    pub(super) runtime: Option<&'static str>,
    pub(super) pod: Option<String>,
}

/// The cgroup in which a socket was opened.
#[derive(Serialize)]
pub(super) struct CgroupV1 {
    pub(super) id: u64,
    pub(super) path: Option<String>,
    #[serde(flatten)]
    pub(super) service: ServiceV1,
}

#[derive(Serialize)]
pub(super) struct FindingV1 {
    pub(super) id: &'static str,
    pub(super) severity: String,
    pub(super) confidence: String,
    pub(super) summary: String,
    pub(super) subject: SubjectV1,
    pub(super) count: u64,
    pub(super) oldest_ms: Option<u64>,
    pub(super) cause: Option<CauseV1>,
    pub(super) other_causes: Vec<CauseV1>,
    pub(super) evidence: Vec<EvidenceV1>,
    pub(super) remedy: String,
    pub(super) confirm: Vec<String>,
}

#[derive(Serialize, Default)]
pub(super) struct SubjectV1 {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) netns: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) listener: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) inode: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) local: Option<EndpointV1>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) pid: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) start_time: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) direction: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) endpoint: Option<String>,
}

#[derive(Serialize)]
pub(super) struct CauseV1 {
    pub(super) id: &'static str,
    pub(super) confidence: String,
    pub(super) summary: String,
}

#[derive(Serialize)]
pub(super) struct EvidenceV1 {
    pub(super) fact: String,
    pub(super) source: String,
}

#[derive(Serialize)]
pub(super) struct SummaryV1 {
    pub(super) critical: u64,
    pub(super) warning: u64,
    pub(super) info: u64,
}

#[derive(Serialize)]
pub(super) struct CountersV1 {
    pub(super) listen_overflows: u64,
    pub(super) listen_drops: u64,
    pub(super) syn_cookies_sent: Option<u64>,
    pub(super) syn_cookies_received: Option<u64>,
    pub(super) syn_cookies_failed: Option<u64>,
    pub(super) syn_queue_full_cookies: Option<u64>,
    pub(super) syn_queue_full_drops: Option<u64>,
    pub(super) tcp_syncookies: Option<u64>,
    pub(super) tcp_max_syn_backlog: Option<u64>,
}

#[derive(Serialize)]
pub(super) struct EventV1 {
    pub(super) schema: &'static str,
    pub(super) at: Option<String>,
    pub(super) elapsed_ms: u64,
    pub(super) kind: &'static str,
    pub(super) severity: String,
    pub(super) summary: String,
    pub(super) subject: Option<SubjectV1>,
    pub(super) measures: MeasuresV1,
    pub(super) finding: Option<FindingV1>,
    pub(super) totals: Option<TotalsV1>,
}

#[derive(Serialize)]
pub(super) struct MeasuresV1 {
    pub(super) count: Option<u64>,
    pub(super) rate_per_s: Option<f64>,
    pub(super) time_left_ms: Option<u64>,
    pub(super) came: Option<u64>,
    pub(super) left: Option<u64>,
    pub(super) lasted_ms: Option<u64>,
}

#[derive(Serialize)]
pub(super) struct TotalsV1 {
    pub(super) looks: u64,
    pub(super) late: u64,
    pub(super) appeared: u64,
    pub(super) gone: u64,
    pub(super) open: Vec<FindingV1>,
    pub(super) peak_queue: Option<PeakV1>,
    pub(super) peak_close_wait: Option<PeakV1>,
}

#[derive(Serialize)]
pub(super) struct PeakV1 {
    pub(super) place: String,
    pub(super) count: u64,
}
