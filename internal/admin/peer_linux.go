package admin

import (
	"fmt"
	"net"
	"syscall"
)

// peerOf names the process at the other end of a Unix socket, and is "" when
// the system does not say.
func peerOf(c *net.UnixConn) (peer string) {
	raw, err := c.SyscallConn()
	if err != nil {
		return ""
	}
	_ = raw.Control(func(fd uintptr) {
		if cred, err := syscall.GetsockoptUcred(int(fd), syscall.SOL_SOCKET, syscall.SO_PEERCRED); err == nil {
			peer = fmt.Sprintf("operator:uid=%d", cred.Uid)
		}
	})
	return peer
}
