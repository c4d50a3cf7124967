package revocation

import (
	"container/list"
	"sync"
	"time"
)

// listKey names a list: partition 0 is the issuer's full one.
type listKey struct {
	issuerID  string
	partition int64
}

// heldList is a list at hand.
type heldList struct {
	*Document
	key     listKey
	number  int64
	checked time.Time // when it was known to be the one in force
}

// listCache holds the lists that were last asked for, up to a number of octets.
type listCache struct {
	capacity int

	mu    sync.Mutex
	held  map[listKey]*list.Element // guarded by mu
	order list.List                 // of *heldList, the last used first; guarded by mu
	size  int                       // octets; guarded by mu
}

func newListCache(capacity int) *listCache {
	return &listCache{capacity: capacity, held: map[listKey]*list.Element{}}
}

// get returns the list if it was known to be in force after the given time.
func (c *listCache) get(key listKey, checkedAfter time.Time) *heldList {
	c.mu.Lock()
	defer c.mu.Unlock()
	element := c.held[key]
	if element == nil {
		return nil
	}
	held := element.Value.(*heldList)
	if !held.checked.After(checkedAfter) {
		return nil
	}
	c.order.MoveToFront(element)
	return held
}

// put holds a list, unless a newer one is held, and drops others that it needs
// the room of. A list that is larger than all of it is not held.
func (c *listCache) put(held *heldList) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if element := c.held[held.key]; element != nil {
		if element.Value.(*heldList).number > held.number {
			return
		}
		c.remove(element)
	}
	if len(held.DER) > c.capacity {
		return
	}
	c.held[held.key] = c.order.PushFront(held)
	c.size += len(held.DER)
	for c.size > c.capacity {
		c.remove(c.order.Back())
	}
}

// remove is called with mu held.
func (c *listCache) remove(element *list.Element) {
	held := c.order.Remove(element).(*heldList)
	delete(c.held, held.key)
	c.size -= len(held.DER)
}
