package e2e

import (
	"context"
	"testing"
	"time"

	"github.com/chromedp/chromedp"
)

// newBrowser starts Chromium without a window and returns the context in which
// it takes orders. It has a minute, and is gone when the test ends.
func newBrowser(t *testing.T) context.Context {
	t.Helper()
	options := append(chromedp.DefaultExecAllocatorOptions[:],
		chromedp.NoSandbox, // tests may run as root, and open nothing but their own pages
		chromedp.Flag("disable-dev-shm-usage", true),
		chromedp.UserDataDir(t.TempDir()),
		chromedp.WSURLReadTimeout(time.Minute),
	)
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	t.Cleanup(cancel)
	ctx, ended := chromedp.NewExecAllocator(ctx, options...)
	t.Cleanup(ended)
	ctx, closed := chromedp.NewContext(ctx)
	t.Cleanup(closed)
	return ctx
}

// drive gives a browser orders, all of which it must be able to follow.
func drive(t *testing.T, browser context.Context, orders ...chromedp.Action[chromedp.Void]) { //nolint:revive // the context is the browser
	t.Helper()
	if err := chromedp.Do(browser, orders...); err != nil {
		t.Fatalf("the browser couldn't follow: %v", err)
	}
}
