package folder

import (
	"fmt"
	"os/user"
	"strconv"
	"strings"
)

// Owner is whose the files become.
type Owner struct {
	uid, gid int // -1 for unchanged
}

// ParseOwner reads USER:GROUP, USER (whose own group stays) or :GROUP, by names
// or numbers. It returns nil for "".
func ParseOwner(text string) (*Owner, error) {
	if text == "" {
		return nil, nil
	}
	userName, groupName, _ := strings.Cut(text, ":")
	owner := &Owner{-1, -1}
	var err error
	if userName != "" {
		if owner.uid, err = lookUp(userName, userID); err != nil {
			return nil, fmt.Errorf("couldn't find the user %s: %w", userName, err)
		}
	}
	if groupName != "" {
		if owner.gid, err = lookUp(groupName, groupID); err != nil {
			return nil, fmt.Errorf("couldn't find the group %s: %w", groupName, err)
		}
	}
	return owner, nil
}

func lookUp(name string, find func(string) (string, error)) (int, error) {
	if id, err := strconv.Atoi(name); err == nil && id >= 0 {
		return id, nil
	}
	id, err := find(name)
	if err != nil {
		return 0, err
	}
	return strconv.Atoi(id)
}

func userID(name string) (string, error) {
	found, err := user.Lookup(name)
	if err != nil {
		return "", err
	}
	return found.Uid, nil
}

func groupID(name string) (string, error) {
	found, err := user.LookupGroup(name)
	if err != nil {
		return "", err
	}
	return found.Gid, nil
}
