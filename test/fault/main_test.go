// Package fault breaks a running Chancery: it kills the process in the middle of
// its work, stops it, takes its disk away, and points it at targets and a DNS
// server that never answer. It does the same to several nodes on one PostgreSQL:
// it kills nodes and the database, has a standby take over, cuts the network,
// sets clocks wrong, and upgrades from the version before. It uses the program
// that users run, in processes of its own, and holds what clients were told
// against what is there afterwards. Loss of power, which takes what was not
// synced, is tested with the store.
package fault

import (
	"flag"
	"os"
	"testing"

	"chancery/internal/processtest"
)

// chancery is the path of the program under test, set once by TestMain.
var chancery string

func TestMain(m *testing.M) {
	flag.Parse()
	_ = flag.Set("test.parallel", "6") // they mostly wait
	code := processtest.Main(m, func(path string) { chancery = path })
	if postgreSQL.server != nil {
		_ = postgreSQL.server.Remove()
	}
	os.Exit(code)
}
