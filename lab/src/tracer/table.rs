//! The traced system calls, by the numbers of the architecture that this was built for.

use libc::c_long;

/// What one argument is; decides how it is written, and when.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Arg {
    Fd,
    Int,
    Size,
    Domain,
    Type,
    Protocol,
    SockFlags,
    MsgFlags,
    How,
    Level,
    /// An option's name; the level is the argument before.
    Option,
    /// An option's value; its length is the next argument.
    OptionIn,
    /// An option's value, once the call is over; the next argument points to its length.
    OptionOut,
    /// A length that the kernel overwrites.
    LenOut,
    /// An address; its length is the next argument.
    AddrIn,
    /// An address, once the call is over; the next argument points to its length.
    AddrOut,
    /// Bytes; their count is the next argument.
    BytesIn,
    /// Bytes, as many as the call returned.
    BytesOut,
    /// An iovec array; its count is the next argument.
    IovIn,
    IovOut,
    MsgIn,
    MsgOut,
    /// An array of mmsghdr; its count is the next argument.
    MmsgIn,
    MmsgOut,
    /// An array of pollfd; its count is the next argument.
    Pollfds,
    /// An fd_set; the first argument says how long.
    Fdset,
    #[cfg_attr(not(target_arch = "x86_64"), expect(dead_code, reason = "there is no select"))]
    Timeval,
    Timespec,
    EpollOp,
    EpollIn,
    /// An array of epoll_event, as many as the call returned.
    EpollOut,
    /// What fcntl(2) is to do; `Operand` is what it does it with.
    Command,
    Operand,
    /// What ioctl(2) is to do; `Reply` is where its answer goes, or its question is.
    Request,
    Reply,
    SpliceFlags,
    Pointer,
    /// Not worth a word: a signal mask and its size.
    Hidden,
}

/// Which of its arguments decide whether a call is about TCP.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Subject {
    /// `socket`: what it asks for.
    NewSocket,
    /// Any of these arguments is a TCP socket.
    Sockets(&'static [usize]),
    /// `fcntl`, `ioctl`: likewise, and the command is worth a line.
    Command,
    /// A TCP socket is in the pollfd array.
    Poll,
    /// A TCP socket is in one of the sets.
    Select,
    /// A TCP socket is watched by the epoll descriptor.
    Epoll,
    /// `close_range`: a TCP socket is in the range.
    Range,
    /// It moves bytes, and no call that could be drawn says which.
    Unseen,
    /// No call of the program's own: how a signal handler returns.
    Sigreturn,
    /// No call of the program's own: how the kernel begins some calls anew.
    Restart,
}

/// One system call.
#[derive(Debug)]
pub struct Spec {
    /// Its number here.
    pub number: c_long,
    /// Its name, as the kernel has it.
    pub name: &'static str,
    /// When it is about TCP.
    pub about: Subject,
    /// Whether it can change a TCP state.
    pub changes: bool,
    /// Its arguments.
    pub args: &'static [Arg],
}

macro_rules! table {
    ($($(#[$cfg:meta])? $nr:ident $about:expr, $changes:literal, [$($arg:ident)*];)*) => {
        &[$($(#[$cfg])? Spec {
            number: libc::$nr,
            name: {
                const NAME: &str = stringify!($nr);
                NAME.split_at(4).1 // without SYS_
            },
            about: $about,
            changes: $changes,
            args: &[$(Arg::$arg),*],
        }),*]
    };
}

const FD: Subject = Subject::Sockets(&[0]);

/// Every traced call. aarch64 has only the newer one of each pair (`ppoll`, not `poll`).
pub static TABLE: &[Spec] = table! {
    SYS_socket Subject::NewSocket, false, [Domain Type Protocol];
    SYS_bind FD, false, [Fd AddrIn Size];
    SYS_listen FD, true, [Fd Int];
    SYS_accept FD, true, [Fd AddrOut LenOut];
    SYS_accept4 FD, true, [Fd AddrOut LenOut SockFlags];
    SYS_connect FD, true, [Fd AddrIn Size];
    SYS_getsockname FD, false, [Fd AddrOut LenOut];
    SYS_getpeername FD, false, [Fd AddrOut LenOut];
    SYS_shutdown FD, true, [Fd How];
    SYS_close FD, true, [Fd];
    SYS_close_range Subject::Range, true, [Size Size Int];
    SYS_setsockopt FD, false, [Fd Level Option OptionIn Size];
    SYS_getsockopt FD, false, [Fd Level Option OptionOut LenOut];
    SYS_sendto FD, true, [Fd BytesIn Size MsgFlags AddrIn Size];
    SYS_recvfrom FD, false, [Fd BytesOut Size MsgFlags AddrOut LenOut];
    SYS_sendmsg FD, true, [Fd MsgIn MsgFlags];
    SYS_recvmsg FD, false, [Fd MsgOut MsgFlags];
    SYS_sendmmsg FD, false, [Fd MmsgIn Size MsgFlags];
    SYS_recvmmsg FD, false, [Fd MmsgOut Size MsgFlags Timespec];
    SYS_read FD, false, [Fd BytesOut Size];
    SYS_write FD, false, [Fd BytesIn Size];
    SYS_readv FD, false, [Fd IovOut Size];
    SYS_writev FD, false, [Fd IovIn Size];
    SYS_preadv2 FD, false, [Fd IovOut Size Int Hidden Int];
    SYS_pwritev2 FD, false, [Fd IovIn Size Int Hidden Int];
    SYS_sendfile Subject::Sockets(&[0, 1]), false, [Fd Fd Pointer Size];
    SYS_splice Subject::Sockets(&[0, 2]), false, [Fd Pointer Fd Pointer Size SpliceFlags];
    SYS_dup FD, false, [Fd];
    #[cfg(target_arch = "x86_64")]
    SYS_dup2 Subject::Sockets(&[0, 1]), true, [Fd Fd];
    SYS_dup3 Subject::Sockets(&[0, 1]), true, [Fd Fd SockFlags];
    SYS_fcntl Subject::Command, false, [Fd Command Operand];
    SYS_ioctl Subject::Command, false, [Fd Request Reply];
    #[cfg(target_arch = "x86_64")]
    SYS_poll Subject::Poll, false, [Pollfds Size Int];
    SYS_ppoll Subject::Poll, false, [Pollfds Size Timespec Hidden Hidden];
    #[cfg(target_arch = "x86_64")]
    SYS_select Subject::Select, false, [Int Fdset Fdset Fdset Timeval];
    SYS_pselect6 Subject::Select, false, [Int Fdset Fdset Fdset Timespec Hidden];
    SYS_epoll_ctl Subject::Sockets(&[2]), false, [Fd EpollOp Fd EpollIn];
    #[cfg(target_arch = "x86_64")]
    SYS_epoll_wait Subject::Epoll, false, [Fd EpollOut Int Int];
    SYS_epoll_pwait Subject::Epoll, false, [Fd EpollOut Int Int Hidden Hidden];
    SYS_epoll_pwait2 Subject::Epoll, false, [Fd EpollOut Int Timespec Hidden Hidden];
    SYS_io_uring_setup Subject::Unseen, false, [];
    SYS_io_submit Subject::Unseen, false, [];
    SYS_rt_sigreturn Subject::Sigreturn, false, [];
    SYS_restart_syscall Subject::Restart, false, [];
};

/// The call with this number, if it is traced.
pub fn find(number: u64) -> Option<&'static Spec> {
    TABLE.iter().find(|spec| spec.number as u64 == number)
}
