package interop_test

import (
	"os"
	"testing"

	"omca/internal/interop/lab"
)

func TestMain(m *testing.M) { os.Exit(lab.Main(m)) }
