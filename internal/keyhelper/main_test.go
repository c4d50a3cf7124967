package keyhelper

import (
	"os"
	"testing"

	"chancery/internal/keyhelper/helpertest"
)

func TestMain(m *testing.M) {
	helpertest.Main()
	os.Exit(m.Run())
}
