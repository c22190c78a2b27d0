"""What comes from a stranger is data: no raster writes, runs or fetches, and odd ones are read."""

from __future__ import annotations

import contextlib
import os
import zipfile
from pathlib import Path

import pytest
import rasterio
from raster_cases import generate
from raster_files import GEO, listening, noise, read_all, write
from rasterio.errors import RasterioError
from rasterio.transform import from_origin

from ngcg_cli.errors import RasterError, UsageError
from ngcg_cli.raster import Raster, TileSize, Window, drivers
from ngcg_cli.raster.files import raster_files
from ngcg_cli.raster.gdal import settings


def mosaic(path: Path, *names: str, more: str = "", relative: int = 1) -> Path:
    """A VRT of one band with parts of 64 x 64 pixels side by side."""
    parts = "".join(
        f'<SimpleSource><SourceFilename relativeToVRT="{relative}">{name}</SourceFilename>'
        '<SourceBand>1</SourceBand><SourceProperties RasterXSize="64" RasterYSize="64" '
        'DataType="Byte" BlockXSize="64" BlockYSize="64"/>'
        '<SrcRect xOff="0" yOff="0" xSize="64" ySize="64"/>'
        f'<DstRect xOff="{64 * at}" yOff="0" xSize="64" ySize="64"/></SimpleSource>'
        for at, name in enumerate(names)
    )
    path.write_text(
        f'<VRTDataset rasterXSize="{64 * len(names)}" rasterYSize="64">{GEO}{more}'
        f'<VRTRasterBand dataType="Byte" band="1">{parts}</VRTRasterBand></VRTDataset>'
    )
    return path


def mrf(folder: Path, source: Path) -> str:
    """A caching MRF: read, it appends what it reads of `source` to `victim` in the folder."""
    box = '<BoundingBox minx="10" miny="47" maxx="11" maxy="48"/>'
    return (
        f"<MRF_META><CachedSource><Source>{source}</Source></CachedSource>"
        '<Raster><Size x="64" y="64" c="1"/><PageSize x="64" y="64" c="1"/>'
        f"<Compression>NONE</Compression><DataFile>{folder}/victim</DataFile>"
        f"<IndexFile>{folder}/idx</IndexFile></Raster><GeoTags>{box}</GeoTags></MRF_META>"
    )


def contents(folder: Path) -> dict[str, bytes]:
    return {str(file): file.read_bytes() for file in folder.rglob("*") if file.is_file()}


@pytest.mark.parametrize("way", ["itself", "in a vrt", "as a mask", "as overviews", "in a tag"])
def test_a_caching_mrf_writes_nothing_whatever_leads_to_it(tmp_path, way):
    source = Path(write(tmp_path / "source.dat", noise(1, 64, 64)))
    (tmp_path / "victim").write_text("precious")
    path = tmp_path / "photo.tif"
    trap = mrf(tmp_path, source)
    if way == "itself":
        path.write_text(trap)
    elif way == "in a vrt":
        (tmp_path / "part.tif").write_text(trap)
        path = mosaic(tmp_path / "photo.vrt", "part.tif")
    else:
        write(path, noise(1, 64, 64))
        beside = {"as a mask": "photo.tif.msk", "as overviews": "photo.tif.ovr"}
        (tmp_path / beside.get(way, "trap.mrf")).write_text(trap)
        if way == "in a tag":
            (tmp_path / "photo.tif.aux.xml").write_text(
                '<PAMDataset><Metadata domain="OVERVIEWS"><MDI key="OVERVIEW_FILE">'
                f"{tmp_path}/trap.mrf</MDI></Metadata></PAMDataset>"
            )
    before = contents(tmp_path)
    refused = pytest.raises(RasterError, match="not recognized")
    with refused if way in ("itself", "in a vrt") else contextlib.nullcontext():
        read_all(str(path), 16)
    assert contents(tmp_path) == before


@pytest.mark.parametrize("kind", ["pipe", "device", "address", "archive", "subdataset", "xml"])
def test_a_vrt_reads_plain_files_only(tmp_path, kind):
    names = {
        "pipe": "pipe.tif",
        "device": "/dev/zero",
        "address": "/vsicurl/http://127.0.0.1:9/a.tif",
        "archive": "/vsizip/a.zip/a.tif",
        "subdataset": "GTIFF_DIR:1:a.tif",
        "xml": "&lt;VRTDataset/&gt;",
    }
    os.mkfifo(tmp_path / "pipe.tif")
    path = mosaic(tmp_path / "photo.tif", names[kind])
    with pytest.raises(RasterError, match=r"no plain file.*--driver VRT"):
        Raster.open(path)
    # Nor do VRTs that VRTs name.
    with pytest.raises(RasterError, match="no plain file"):
        Raster.open(mosaic(tmp_path / "outer.vrt", "photo.tif"))


def test_a_vrt_with_code_bare_pixels_or_entities_is_not_read(tmp_path):
    write(tmp_path / "a.tif", noise(1, 64, 64))
    code = "<PixelFunctionCode>1/0</PixelFunctionCode>"
    path = mosaic(tmp_path / "a.vrt", "a.tif", more=code)
    with pytest.raises(RasterError, match="holds code"):
        Raster.open(path)
    text = mosaic(path, "a.tif").read_text()
    path.write_text(text.replace('band="1">', 'band="1" subClass="VRTRawRasterBand">'))
    with pytest.raises(RasterError, match="takes any file for pixels"):
        Raster.open(path)
    path.write_text('<!DOCTYPE x [<!ENTITY a "b">]>' + text)
    with pytest.raises(RasterError, match="document type"):
        Raster.open(path)
    path.write_text(text)
    assert read_all(str(path))[1] == 1


PIPE = '<SourceFilename relativeToVRT="1">pipe.tif</SourceFilename>'


@pytest.mark.parametrize(
    "hidden",
    [
        '<SourceFilename name="x">pipe.tif</SourceFilename>',
        '<SourceFilename key="x">pipe.tif</SourceFilename>',
        "<SourceFilename>pipe.tif<!-- a -->x</SourceFilename>",
        "<SourceFilename>pipe.tif<![CDATA[x]]></SourceFilename>",
        "<SourceFilename><x/>pipe.tif</SourceFilename>",
        f"<?a >{PIPE}<?b ?>",
        "<DEMPath>pipe.tif</DEMPath>",
        '<Metadata><MDI key="X_DATASET">pipe.tif</MDI></Metadata>',
        '<x:PixelFunctionCode xmlns:x="y">1/0</x:PixelFunctionCode>',
        "<SourceSRS>pipe.tif</SourceSRS>",
        "<SourceSRS>http://127.0.0.1:9/</SourceSRS>",
        "<DEMSRS>ESRI::http://127.0.0.1:9/</DEMSRS>",
        '<GCPList Projection="http://127.0.0.1:9/"/>',
    ],
)
def test_a_vrt_cannot_hide_what_it_names(tmp_path, hidden):
    write(tmp_path / "a.tif", noise(1, 64, 64))
    os.mkfifo(tmp_path / "pipe.tif")
    path = mosaic(tmp_path / "a.vrt", "a.tif", more=hidden)
    with pytest.raises(RasterError, match=r"no plain file|holds code|in pieces|instruction"):
        Raster.open(path)


def test_a_vrt_may_describe_itself(tmp_path):
    write(tmp_path / "a.tif", noise(1, 64, 64))
    (tmp_path / "Area").mkdir()
    more = (
        '<Description>see http://127.0.0.1:9/</Description><!-- a --><Metadata domain="xml:XMP" '
        'format="xml"><?xpacket begin=""?><x xmlns="http://a" y="http://b">http://c</x>'
        '<?xpacket end="w"?></Metadata><Metadata><MDI key="URL">http://d</MDI>'
        '<MDI key="AREA_OR_POINT">Area</MDI></Metadata><Metadata domain="d">'
        "<MDI key='e'><![CDATA[<f>]]></MDI></Metadata>"
    )
    assert read_all(str(mosaic(tmp_path / "a.vrt", "a.tif", more=more)))[1] == 1


@pytest.mark.parametrize(
    "name", ["a.tif.ovr", "a.tif.msk", "A.TIF.AUX.XML", "a_rpc.txt", "a.RPB", "METADATA.DIM"]
)
def test_a_pipe_beside_a_raster_is_not_waited_for(tmp_path, name):
    path = write(tmp_path / "a.tif", noise(1, 64, 64))
    os.mkfifo(tmp_path / "fifo")  # which is nobody's side file
    assert read_all(path, 16)[1] == 1
    os.mkfifo(tmp_path / name)
    with pytest.raises(RasterError, match=f"{name}' beside it is a pipe or device"):
        read_all(path, 16)
    (tmp_path / "vrt").mkdir()
    path = mosaic(tmp_path / "vrt" / "b.vrt", "../a.tif")
    with pytest.raises(RasterError, match="beside it is a pipe or device"):
        read_all(str(path), 16)


@pytest.mark.parametrize("name", ["a.tif.ovr", "a.tif.msk", "a.tif.aux.xml"])
def test_side_files_name_plain_files_alone(tmp_path, name):
    path = write(tmp_path / "a.tif", noise(1, 64, 64))
    os.mkfifo(tmp_path / "pipe")
    if name == "a.tif.aux.xml":
        (tmp_path / name).write_text(
            '<PAMDataset><Metadata domain="OVERVIEWS"><MDI key="OVERVIEW_FILE">'
            ":::BASE:::pipe</MDI></Metadata></PAMDataset>"
        )
    else:
        mosaic(tmp_path / name, "pipe")
    with pytest.raises(RasterError, match="no plain file"):
        read_all(path, 16)


def test_an_overview_that_is_not_there_is_one_line(tmp_path):
    write(tmp_path / "a.tif", noise(1, 64, 64))
    path = mosaic(tmp_path / "a.vrt", "a.tif")
    gone = (
        "<Overview><SourceFilename>gone.tif</SourceFilename><SourceBand>1</SourceBand></Overview>"
    )
    path.write_text(path.read_text().replace("<SimpleSource>", f"{gone}<SimpleSource>", 1))
    with pytest.raises(RasterError, match="overview that it names cannot be opened"):
        Raster.open(path)


@pytest.mark.parametrize("way", ["archive", "address"])
def test_a_vrt_that_cannot_be_looked_at_is_not_opened(tmp_path, monkeypatch, way):
    write(tmp_path / "a.tif", noise(1, 64, 64))
    path = mosaic(tmp_path / "a.vrt", str(tmp_path / "a.tif"), relative=0)
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        archive.write(path, "a.vrt")
    name = f"/vsizip/{tmp_path}/a.zip/a.vrt" if way == "archive" else path.as_uri()
    with pytest.raises(RasterError, match=r"not recognized.*--driver"):
        Raster.open(name)
    monkeypatch.setitem(drivers._extra, "VRT", "")
    assert read_all(name)[1] == 1


def test_a_crs_that_is_an_address_is_not_fetched(tmp_path):
    write(tmp_path / "a.tif", noise(1, 64, 64))
    place = "".join(
        f"<{end}GeoTransform>0,1,0,0,0,1</{end}GeoTransform>"
        for end in ("Src", "SrcInv", "Dst", "DstInv")
    )
    with listening() as (port, asked):
        crs = f"<SourceSRS>http://127.0.0.1:{port}/</SourceSRS><TargetSRS>EPSG:4326</TargetSRS>"
        (tmp_path / "a.vrt").write_text(
            '<VRTDataset rasterXSize="64" rasterYSize="64" subClass="VRTWarpedDataset">'
            f'{GEO}<VRTRasterBand dataType="Byte" band="1" subClass="VRTWarpedRasterBand"/>'
            '<GDALWarpOptions><SourceDataset relativeToVRT="1">a.tif</SourceDataset><Transformer>'
            f"<GenImgProjTransformer>{place}<ReprojectTransformer><ReprojectionTransformer>{crs}"
            "</ReprojectionTransformer></ReprojectTransformer></GenImgProjTransformer></Transformer>"
            '<BandList><BandMapping src="1" dst="1"/></BandList></GDALWarpOptions></VRTDataset>'
        )
        with pytest.raises(RasterError, match="no plain file"):
            Raster.open(tmp_path / "a.vrt")
        # Should one come through, or a format hold one that we know nothing of.
        with pytest.raises(RasterioError), settings(str(tmp_path / "a.vrt")):
            rasterio.open(tmp_path / "a.vrt")
        assert not asked


def test_a_local_raster_asks_no_server(tmp_path):
    with listening() as (port, asked):
        path = write(tmp_path / "a.tif", noise(1, 64, 64))
        Path(f"{path}.aux.xml").write_text(
            '<PAMDataset><Metadata domain="OVERVIEWS"><MDI key="OVERVIEW_FILE">'
            f"/vsicurl/http://127.0.0.1:{port}/o.tif</MDI></Metadata></PAMDataset>"
        )
        assert read_all(path, 16)[1] == 1
        assert asked == []


def test_more_drivers_by_name_and_only_for_this_process(tmp_path, monkeypatch):
    path = tmp_path / "a.asc"
    rows = "\n".join(" ".join("5" for _ in range(8)) for _ in range(8))
    path.write_text(f"ncols 8\nnrows 8\nxllcorner 0\nyllcorner 0\ncellsize 1\n{rows}\n")
    (tmp_path / "a.prj").write_text(rasterio.crs.CRS.from_epsg(32618).to_wkt())
    with pytest.raises(RasterError, match="--driver NAME"):
        Raster.open(path)
    monkeypatch.setattr(drivers, "_extra", {})
    drivers.allow(["aaigrid"])
    with Raster.open(path) as raster:
        assert (raster.width, raster.height) == (8, 8)
    with pytest.raises(UsageError, match="no driver 'nonsense'"):
        drivers.allow(["nonsense"])
    monkeypatch.undo()
    drivers.limit()
    with pytest.raises(RasterError, match="--driver NAME"):
        Raster.open(path)


def test_reading_leaves_every_folder_as_it_was(tmp_path):
    generate(tmp_path)
    for driver in ("JP2OpenJPEG", "PNG", "JPEG", "HFA", "ENVI", "EHdr", "BMP"):
        with rasterio.open(
            tmp_path / f"a.{driver.lower()}", "w", driver=driver, width=64, height=64, count=1,
            dtype="uint8", crs="EPSG:32618", transform=from_origin(5e5, 4.65e6, 1, 1),
        ) as out:  # fmt: skip
            out.write(noise(1, 64, 64))
    before = contents(tmp_path)
    for name in before:
        raster_files(name)
        try:
            with Raster.open(name) as raster:
                window = raster.grid(TileSize.parse("32px"))[0]
                raster.read(window, 16)
                raster.footprints([window])
        except RasterError:
            assert not name.endswith((".tif", ".png", ".jpeg"))
    assert contents(tmp_path) == before


@pytest.mark.parametrize("state", ["missing", "empty", "no raster"])
def test_windows_on_a_missing_part_are_never_pixels(tmp_path, state):
    write(tmp_path / "left.tif", noise(1, 64, 64))
    if state != "missing":
        (tmp_path / "right.tif").write_bytes(b"" if state == "empty" else b"no raster")
    with Raster.open(mosaic(tmp_path / "a.vrt", "left.tif", "right.tif")) as raster:
        for _ in range(2):
            for column in (64, 96, 32):
                with pytest.raises(RasterError, match=r"right\.tif"):
                    raster.read(Window(column, 0, 32 + (column == 32), 64))
            image, valid = raster.read(Window(0, 0, 64, 64))
            assert (valid, image.min() > 0) == (1, True)


def test_what_a_raster_is_read_from_is_what_its_freshness_is_tested_on(tmp_path):
    path = write(tmp_path / "a.tif", noise(1, 64, 64))
    for name in ("a.tfw", "A.TIFW", "a.tif.aux.xml", "a.tif.msk", "a.tif.ovr", "a_rpc.txt"):
        (tmp_path / name).write_text("x")
    for name in ("a.txt", "b.tfw", "a.jp2"):
        (tmp_path / name).write_text("x")
    wanted = ["a.tif", "A.TIFW", "a.tfw", "a.tif.aux.xml", "a.tif.msk", "a.tif.ovr", "a_rpc.txt"]
    assert [Path(name).name for name in raster_files(path)] == wanted
    write(tmp_path / "part.tif", noise(1, 64, 64))
    (tmp_path / "part.tfw").write_text("x")
    outer = mosaic(tmp_path / "outer.vrt", mosaic(tmp_path / "inner.vrt", "part.tif").name)
    found = {Path(name).name for name in raster_files(str(outer))}
    assert found == {"outer.vrt", "inner.vrt", "part.tif", "part.tfw"}
    assert raster_files(f"/vsizip/{outer}/a.tif") == [str(outer)]
    assert raster_files("https://host.example/a.tif") == []


def test_a_name_that_is_not_utf8_is_told_so(tmp_path):
    path = os.fsdecode(os.fsencode(tmp_path) + b"/gr\xfc.tif")
    with pytest.raises(RasterError, match=r"gr\\xfc\.tif: its name is not UTF-8.*Rename"):
        Raster.open(path)
