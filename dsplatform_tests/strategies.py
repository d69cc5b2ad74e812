"""Hypothesis strategies that tests share."""

from hypothesis import strategies as st

words = st.text(
    st.one_of(
        st.sampled_from("abzAZ09_-. /~@%\\:#\n\t\x00"),
        st.sampled_from("é\u0301ßß漢字\u0928\u093f\U0001f600\u202e\u2066\u200b\u00a0\ufb01\u1e9b\u0323\u212b\u0661\ud800"),
        st.characters(),
    ),
    max_size=40,
)
"""Text that leans towards what naming rules have to think about."""

component_names = st.sampled_from(["a", "b", "data.csv", "é", "sub/a", "sub/b", "日本.parquet", "-x"])
"""A few acceptable names, so that lists of operations meet each other."""

small_contents = st.sampled_from([b"", b"0", b"1", b"a,b\n1,2\n", b"x" * 300])
"""A few contents, so that the same bytes turn up under several names."""
