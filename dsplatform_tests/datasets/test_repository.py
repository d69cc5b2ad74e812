from dsplatform.bootstrap import Platform
from dsplatform.datasets.repository import Datasets
from dsplatform_tests import make


def test_the_first_free_slug_fills_a_gap(platform: Platform) -> None:
    for number in range(4):
        make.dataset(platform, "sales", platform.permissions.create_user(f"user{number}"))
    with platform.db.transaction() as tx:
        assert Datasets(tx).free_slug("sales") == "sales~5"
        assert Datasets(tx).free_slug("sale") == "sale"
        tx.execute("DELETE FROM datasets WHERE slug = 'sales~3'")
        assert Datasets(tx).free_slug("sales") == "sales~3"
